"""Exports of a finished run: a new version for serving, or the encoder for further training."""

import os

import numpy as np
from keras_nlp.models import BertBackbone

from covid_lm.backbones.configs import BackboneConfig
from covid_lm.backbones.patch_embedding import build_backbone
from covid_lm.backbones.vocabulary import read_vocabulary
from covid_lm.backbones.weights.config import read_config, vocabulary_file
from covid_lm.backbones.weights.read import load_weights
from covid_lm.backbones.weights.write import save_checkpoint
from covid_lm.errors import InputError, RunError
from covid_lm.files import read_bytes
from covid_lm.models.classifier import predict_tokens
from covid_lm.models.saving import WEIGHTS_FILE, load_classifier
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.pipeline.decoded import decode_records
from covid_lm.serving.core_export import FORMATS, TOKENIZER, export_core
from covid_lm.serving.saved_model import export_classifier
from covid_lm.training.run_directory import sample_records


def export_run(model_dir: str, dtype: str = "float32") -> tuple[str, float]:
    """Exports a new version of a finished run, verified with the run's sample images.

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
    images = decode_records(sample_records(run_dir), preprocessor.image_input)
    tokens = images.tokenize(preprocessor).tokens
    probabilities = predict_tokens(classifier, tokens)
    extra: dict[str, dict | str] = {}
    for filename in ("config.json", "metrics.json", "README.md"):
        extra[filename] = read_bytes(os.path.join(run_dir, filename)).decode()
    extra["model_card.md"] = extra.pop("README.md")
    return export_classifier(classifier, model_dir, images.records, probabilities, extra, dtype)


def write_core(model_dir: str, directory: str, format_name: str) -> float:
    """Writes a finished run for ONNX Runtime or LiteRT, without TensorFlow; see `export_core`.

    Args:
        model_dir: `saved_models/NAME`.
        directory: written completely or not at all. An existing directory is replaced only if it
            holds such an export, too.
        format_name: "onnx" or "litert".

    Returns:
        The largest absolute difference of probabilities.

    Raises:
        InputError: no finished run there, a convolutional network, or a directory of other files.
        RunError: as `export_core`, or the directory can't be written.
    """
    if os.path.exists(directory) and not _holds_core(directory):
        raise InputError(f"--output={directory}: holds other files; give another directory")
    run_dir = os.path.join(model_dir, "run")
    classifier = load_classifier(run_dir)
    if not isinstance(classifier, TokenClassifier):
        raise InputError(f"--run={model_dir}: reads no tokens; use --format=saved_model")
    try:
        return export_core(classifier, run_dir, directory, sample_records(run_dir), format_name)
    except OSError as error:
        raise RunError(f"--output={directory}: {error.strerror}") from error


def _holds_core(directory: str) -> bool:
    files = [os.path.join(directory, kind.file) for kind in FORMATS.values()]
    return os.path.exists(os.path.join(directory, TOKENIZER)) and any(map(os.path.exists, files))


def write_encoder(model_dir: str, directory: str, dtype: str = "float32") -> None:
    """Writes the encoder's weights, config and vocabulary, without the classification head.

    Args:
        model_dir: `saved_models/NAME` of a training or pre-training run.
        directory: written completely or not at all. An existing directory is replaced only if it
            holds such weights, too.
        dtype: of the weights, "float32" or "float16".

    Raises:
        InputError: no finished run there, a convolutional network, or a directory of other files.
        RunError: the directory can't be written.
    """
    encoder = _encoder(model_dir)
    if os.path.exists(directory) and not os.path.exists(os.path.join(directory, "vocab.txt")):
        raise InputError(f"--encoder={directory}: holds other files; give another directory")
    try:
        save_checkpoint(directory, *encoder, None, pooler=False, dtype=np.dtype(dtype).type)
    except OSError as error:
        raise RunError(f"--encoder={directory}: {error.strerror}") from error


def _encoder(model_dir: str) -> tuple[BertBackbone, BackboneConfig, tuple[str, ...]]:
    """Encoder, config and vocabulary of a run; raises InputError as `write_encoder`."""
    pretrained = os.path.join(model_dir, "weights")
    trained = os.path.exists(os.path.join(model_dir, "run", WEIGHTS_FILE))
    if os.path.isdir(pretrained) and not trained:
        config, vocabulary = read_config(pretrained), read_vocabulary(vocabulary_file(pretrained))
        backbone = build_backbone(config)
        load_weights(pretrained, backbone)
        return backbone, config, vocabulary
    classifier = load_classifier(os.path.join(model_dir, "run"))
    if not isinstance(classifier, TokenClassifier):
        raise InputError(f"--run={model_dir}: its network has no encoder; give a run of a BERT")
    return classifier.backbone, classifier.config.backbone, classifier.vocabulary
