"""Training of the head alone, on an encoder that keeps its initial weights."""

import time

import numpy as np
from scipy.special import softmax
from sklearn.metrics import log_loss

from covid_lm.errors import InputError
from covid_lm.models.classifier import Classifier, predict_in_batches
from covid_lm.models.logistic_head import logistic_head
from covid_lm.pipeline.augmented import token_batches
from covid_lm.pipeline.decoded import DecodedRecords
from covid_lm.training.checkpoints import Progress
from covid_lm.training.fine_tuning import log_epoch
from covid_lm.training.options import TrainingOptions


def fit_frozen(
    classifier: Classifier, images: DecodedRecords, options: TrainingOptions, run_dir: str
) -> None:
    """Fits the head as a logistic regression, once, and logs that as one epoch.

    Nothing is saved before it is finished: the fit takes little longer than `image_vectors`.

    Args:
        images: those to train on; their tokens are of the training policy.

    Raises:
        InputError: the images are of one class.
    """
    started = time.monotonic()
    if len(np.unique(images.labels)) < 2:
        raise InputError("--frozen: the training images are of one class")
    vectors = image_vectors(classifier, images, classifier.config.training_policy)
    num_classes = len(classifier.config.classes)
    patients = [record.patient for record in images.records]
    kernel, bias = logistic_head(vectors, images.labels, num_classes, patients, options.seed)
    dense = classifier.logits.get_layer("feature_extraction").dense
    dense.kernel.assign(kernel.astype(np.float32))
    dense.bias.assign(bias.astype(np.float32))
    probabilities = softmax(vectors @ kernel + bias, axis=1)
    metrics = {
        "epoch": 1,
        "accuracy": float(np.mean(probabilities.argmax(axis=1) == images.labels)),
        "loss": float(log_loss(images.labels, probabilities, labels=range(num_classes))),
        "seconds": round(time.monotonic() - started, 3),
    }
    log_epoch(Progress([metrics]), 1, run_dir)


def image_vectors(classifier: Classifier, images: DecodedRecords, policy: str) -> np.ndarray:
    """Computes the vectors before the head under a policy, float32 [images, hidden_dim]."""
    batches = token_batches(images, classifier.preprocessor(policy))
    parts = [predict_in_batches(classifier.embedding, part.tokens, 32) for part in batches.parts()]
    return np.concatenate(parts).astype(np.float32)
