"""A model under every test policy that it can be given, the paper's beside the honest ones."""

import dataclasses
import math
from collections.abc import Sequence

import keras
import numpy as np

from covid_lm.averaged_classifier import AnyClassifier, AveragedClassifierConfig
from covid_lm.classifier import ClassifierConfig
from covid_lm.data.records import ImageRecord
from covid_lm.data.tokens import decoded_chunks
from covid_lm.errors import InputError
from covid_lm.evaluation.metrics import classification_metrics
from covid_lm.layers.file_name_input import POLICIES
from covid_lm.pixel_classifier import PixelClassifierConfig


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What a model says of a split under every test policy that it can be given.

    Attributes:
        rows: row name to metrics; the first is the run's own protocol.
        predictions: row name to probabilities, float32 [images, classes].
        records: the images, in that order.
        skipped: records whose image could not be decoded, left out of the above.
    """

    rows: dict[str, dict]
    predictions: dict[str, np.ndarray]
    records: tuple[ImageRecord, ...]
    skipped: tuple[ImageRecord, ...]

    @property
    def own_probabilities(self) -> np.ndarray:
        """Those of the run's own protocol, float32 [images, classes]."""
        return next(iter(self.predictions.values()))


def test_policies(
    config: ClassifierConfig | PixelClassifierConfig | AveragedClassifierConfig,
) -> dict[str, str]:
    """Row name to test policy; the run's own protocol first.

    A model trained on names, or on their lengths, is also tested under every other policy. One
    that was trained without (`fixed`, `absent`) has its own row only.
    """
    rows = {config.protocol: config.test_policy}
    if config.training_policy in ("visible", "masked"):
        rows |= {policy: policy for policy in POLICIES if policy != config.test_policy}
    return rows


def predict_tokens(classifier: AnyClassifier, tokens: dict, batch_size: int = 32) -> np.ndarray:
    """Probabilities, float32 [n, classes], of what the preprocessor gave."""
    return predict_in_batches(classifier.core, tokens, batch_size)


def predict_in_batches(model: keras.Model, tokens: dict, batch_size: int) -> np.ndarray:
    """The model's outputs, [n, ...], for each of n inputs once, on however many devices.

    Several devices get whole batches with equal shares, for which the last one is filled up.

    Args:
        tokens: input name to array [n, ...].
    """
    count = len(next(iter(tokens.values())))
    replicas = model.distribute_strategy.num_replicas_in_sync
    if replicas > 1:
        batch_size = math.ceil(min(batch_size, count) / replicas) * replicas
        rows = np.resize(np.arange(count), math.ceil(count / batch_size) * batch_size)
        tokens = {key: value[rows] for key, value in tokens.items()}
    return model.predict(tokens, batch_size=batch_size, verbose=0)[:count]


def evaluate_protocols(
    classifier: AnyClassifier,
    records: Sequence[ImageRecord],
    skip_invalid: bool = False,
) -> Evaluation:
    """Metrics under every test policy, in memory that grows with the images' probabilities alone.

    Raises:
        InputError: no images, or one that can't be decoded while `skip_invalid` is false.
    """
    policies = test_policies(classifier.config)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in policies}
    kept: list[ImageRecord] = []
    skipped: list[ImageRecord] = []
    for images in decoded_chunks(records, classifier.preprocessor().image_input, skip_invalid):
        skipped += images.skipped
        if not images.records:
            continue
        kept += images.records
        for name, policy in policies.items():
            tokens = images.tokenize(classifier.preprocessor(policy)).tokens
            parts[name].append(predict_tokens(classifier, tokens))
    if not kept:
        raise InputError("no images in this split that can be decoded")
    predictions = {name: np.concatenate(chunks) for name, chunks in parts.items()}
    rows = {
        name: {
            "training_policy": classifier.config.training_policy,
            "test_policy": policy,
            **record_metrics(predictions[name], kept, classifier.config.classes),
            "skipped": len(skipped),
        }
        for name, policy in policies.items()
    }
    return Evaluation(rows, predictions, tuple(kept), tuple(skipped))


def record_metrics(
    probabilities: np.ndarray, records: Sequence[ImageRecord], classes: Sequence[str]
) -> dict:
    """`classification_metrics` of records' images, with their labels and patients."""
    labels = np.array([record.label for record in records])
    patients = [record.patient for record in records]
    return classification_metrics(probabilities, labels, classes, patients)
