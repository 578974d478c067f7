"""A model's metrics under every metadata policy that it can be tested with."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from covid_lm.data.records import ImageDataset, ImageRecord
from covid_lm.evaluation.baselines import (
    BASELINES,
    baseline_probabilities,
    name_length_baseline,
)
from covid_lm.evaluation.factor_metrics import factor_metrics
from covid_lm.evaluation.headline import headline
from covid_lm.evaluation.metrics import classification_metrics
from covid_lm.layers.file_name_input import POLICIES
from covid_lm.models.classifier import Classifier, predict_tokens
from covid_lm.models.pixel_classifier import PixelClassifierConfig
from covid_lm.models.token_classifier import TokenClassifier, TokenClassifierConfig
from covid_lm.pipeline.decoded import DecodedRecords, decode_records
from covid_lm.pipeline.pixel_cache import PixelCache


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A model's predictions on a split under every test policy.

    Attributes:
        rows: row name to metrics; the first is the run's own protocol.
        predictions: row name to probabilities, float32 [images, classes].
        images: the images in that order, and the records that could not be decoded.
    """

    rows: dict[str, dict]
    predictions: dict[str, np.ndarray]
    images: DecodedRecords

    @property
    def records(self) -> tuple[ImageRecord, ...]:
        """Records of the images."""
        return self.images.records

    @property
    def own_probabilities(self) -> np.ndarray:
        """Probabilities under the run's own protocol, float32 [images, classes]."""
        return next(iter(self.predictions.values()))


def evaluation_policies(config: TokenClassifierConfig | PixelClassifierConfig) -> dict[str, str]:
    """Row name to test policy; the run's own protocol comes first.

    A model trained on names, or on their lengths, is also tested under every other policy.
    """
    rows = {config.protocol: config.test_policy}
    if config.training_policy in ("visible", "masked"):
        rows |= {policy: policy for policy in POLICIES if policy != config.test_policy}
    return rows


def evaluate_protocols(
    classifier: Classifier,
    records: Sequence[ImageRecord],
    skip_invalid: bool = False,
    decoded: DecodedRecords | None = None,
    cache: PixelCache | None = None,
) -> Evaluation:
    """Evaluate a model under every test policy, each image decoded once.

    Args:
        decoded: the records' images, if the test preprocessor has decoded them before.
        cache: receives the pixels; by default a temporary one.

    Raises:
        InputError: no images, or one that can't be decoded while `skip_invalid` is false.
    """
    image_input = classifier.preprocessor().image_input
    images = decoded or decode_records(records, image_input, skip_invalid, cache)
    policies = evaluation_policies(classifier.config)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in policies}
    for chunk in images.chunks():
        for name, policy in policies.items():
            tokens = chunk.tokenize(classifier.preprocessor(policy)).tokens
            parts[name].append(predict_tokens(classifier, tokens))
    predictions = {name: np.concatenate(part) for name, part in parts.items()}
    rows = {
        name: {
            "training_policy": classifier.config.training_policy,
            "test_policy": policy,
            **record_metrics(predictions[name], images.records, classifier.config.classes),
            "skipped": len(images.skipped),
        }
        for name, policy in policies.items()
    }
    return Evaluation(rows, predictions, images)


def record_metrics(
    probabilities: np.ndarray, records: Sequence[ImageRecord], classes: Sequence[str]
) -> dict:
    """The `classification_metrics` of records, with their labels and patients."""
    labels = np.array([record.label for record in records])
    patients = [record.patient for record in records]
    return classification_metrics(probabilities, labels, classes, patients)


def split_metrics(
    classifier: Classifier, dataset: ImageDataset, split: str, evaluation: Evaluation
) -> dict:
    """The content of `metrics.json`: every protocol, and the baseline of the name's length.

    Returns:
        `dataset`, `split`, `classes`, `weights`, `protocols` (the rows), `name_alone` (metrics of
        `name_length_baseline`, fitted on the training split; None without one, and for all splits
        together), `headline`, and `factors` (`factor_metrics` under the run's own protocol; only if
        the records have factors).
    """
    classes, training = dataset.classes, dataset.split("train")
    name_row = None
    # It is fitted on images that aren't evaluated, unless the training split itself is.
    if training and split != "all":
        by_name = name_length_baseline(training, evaluation.records, len(classes))
        name_row = record_metrics(by_name, evaluation.records, classes)
    factors = factor_metrics(evaluation.own_probabilities, evaluation.records, classes)
    return {
        "dataset": dataset.name,
        "split": split,
        "classes": list(classes),
        "weights": classifier.config.weights or "random",
        "protocols": evaluation.rows,
        "name_alone": name_row,
        "headline": headline(evaluation.rows),
        **({"factors": factors} if factors else {}),
    }


def baseline_rows(
    classifier: TokenClassifier,
    dataset: ImageDataset,
    evaluation: Evaluation,
    cache: PixelCache | None = None,
) -> dict[str, dict]:
    """Metrics of a logistic regression and a random forest on the tokens that the model sees.

    They are fitted under the training policy on the training images that can be decoded.
    """
    config, preprocessor = classifier.config, classifier.preprocessor()
    images = training = evaluation.images
    if images.records[0].split != "train":
        records = dataset.split("train")
        training = decode_records(records, preprocessor.image_input, True, cache)
    train = training.tokenize(classifier.preprocessor(config.training_policy))
    test = images.tokenize(preprocessor)
    patients = [record.patient for record in training.records]
    arguments = (train, test, len(config.classes), classifier.vocabulary, patients)
    return {
        kind: record_metrics(
            baseline_probabilities(kind, *arguments), images.records, config.classes
        )
        for kind in BASELINES
    }
