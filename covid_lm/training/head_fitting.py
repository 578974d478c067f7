"""Training of the head alone, on an encoder that keeps its initial weights."""

import time

import numpy as np
from sklearn.metrics import log_loss

from covid_lm.errors import InputError
from covid_lm.models.classifier import Classifier
from covid_lm.models.logistic_head import fit_logistic_head
from covid_lm.pipeline.decoded import DecodedRecords
from covid_lm.training.checkpoints import Progress
from covid_lm.training.fine_tuning import log_epoch
from covid_lm.training.options import TrainingOptions


def fit_frozen(
    classifier: Classifier, images: DecodedRecords, options: TrainingOptions, run_dir: str
) -> None:
    """Fits the head as a logistic regression, once, and logs that as one epoch.

    Nothing is saved before it is finished: the fit takes little longer than predicting the images.

    Args:
        images: those to train on; their tokens are of the training policy.

    Raises:
        InputError: the images are of one class.
    """
    started = time.monotonic()
    if len(np.unique(images.labels)) < 2:
        raise InputError("--frozen: the training images are of one class")
    tokens = images.tokenize(classifier.preprocessor(classifier.config.training_policy))
    patients = [record.patient for record in images.records]
    probabilities = fit_logistic_head(
        classifier, tokens.tokens, tokens.labels, patients, options.seed
    )
    metrics = {
        "epoch": 1,
        "accuracy": float(np.mean(probabilities.argmax(axis=1) == tokens.labels)),
        "loss": float(log_loss(tokens.labels, probabilities, labels=range(probabilities.shape[1]))),
        "seconds": round(time.monotonic() - started, 3),
    }
    log_epoch(Progress([metrics]), 1, run_dir)
