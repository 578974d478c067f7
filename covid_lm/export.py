"""Exports of a finished run: a new version for serving, or the encoder for another training run."""

import os

from covid_lm.backbones.weights.write import save_checkpoint
from covid_lm.errors import InputError, RunError
from covid_lm.files import read_bytes
from covid_lm.models.classifier import predict_tokens
from covid_lm.models.saving import load_classifier
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.pipeline.decoded import decode_records
from covid_lm.serving.saved_model import export_classifier
from covid_lm.training.run_directory import sample_records


def export_run(model_dir: str, dtype: str = "float32") -> tuple[str, float]:
    """A new version from a finished run, proved with the run's sample images.

    Args:
        model_dir: `saved_models/NAME`.

    Returns:
        As `export_classifier`.

    Raises:
        InputError: no finished run there.
        RunError: as `export_classifier`.
    """
    run_dir = os.path.join(model_dir, "run")
    classifier = load_classifier(run_dir)
    preprocessor = classifier.preprocessor()
    images = decode_records(sample_records(run_dir), preprocessor.decode)
    tokens = images.tokenize(preprocessor).tokens
    probabilities = predict_tokens(classifier, tokens)
    extra: dict[str, dict | str] = {}
    for filename in ("config.json", "metrics.json", "README.md"):
        extra[filename] = read_bytes(os.path.join(run_dir, filename)).decode()
    extra["model_card.md"] = extra.pop("README.md")
    return export_classifier(classifier, model_dir, images.records, probabilities, extra, dtype)


def write_encoder(model_dir: str, directory: str) -> None:
    """Writes the encoder's weights, config and vocabulary; the classes' head is left behind.

    Args:
        model_dir: `saved_models/NAME`, of tools/train.py.
        directory: what appears, whole; what was there before is replaced only if it is such a
            directory, too.

    Raises:
        InputError: no finished run there, an average or a convolutional network, or a directory
            of something else.
        RunError: the directory can't be written.
    """
    classifier = load_classifier(os.path.join(model_dir, "run"))
    if not isinstance(classifier, TokenClassifier):
        raise InputError(f"--run={model_dir}: has no single encoder; give a run of one BERT")
    if os.path.exists(directory) and not os.path.exists(os.path.join(directory, "vocab.txt")):
        raise InputError(f"--encoder={directory}: is there and holds no model; give another place")
    try:
        save_checkpoint(
            directory,
            classifier.backbone,
            classifier.config.backbone,
            classifier.vocabulary,
            masked_lm_head=None,
            pooler=False,
        )
    except OSError as error:
        raise RunError(f"--encoder={directory}: {error.strerror}") from error
