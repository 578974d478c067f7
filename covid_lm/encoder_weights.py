"""The encoder of a finished run as a directory that another training can begin with."""

import os

from covid_lm.backbones.save_checkpoint import save_checkpoint
from covid_lm.classifier import Classifier
from covid_lm.classifier_files import load_classifier
from covid_lm.errors import InputError, RunError


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
    if not isinstance(classifier, Classifier):
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
