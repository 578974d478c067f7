"""A model's metrics under every metadata policy that it can be tested with."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from covid_lm.data.records import ImageDataset, ImageRecord
from covid_lm.errors import InputError
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
from covid_lm.pipeline.decoded import (
    KEPT_BYTES,
    DecodedRecords,
    PixelsOnDemand,
    SkippedImage,
    decode_records,
    decoded_chunks,
)


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

    @property
    def in_memory(self) -> DecodedRecords | None:
        """The images, unless their pixels have to be decoded again."""
        return self.images if isinstance(self.images.pixels, np.ndarray) else None


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
) -> Evaluation:
    """Evaluate a model under every test policy, each image decoded once.

    Args:
        decoded: the records' images, if the test preprocessor has decoded them before.

    Raises:
        InputError: no images, or one that can't be decoded while `skip_invalid` is false.
    """
    preprocessor = classifier.preprocessor()
    on_demand = PixelsOnDemand(records, preprocessor.image_input)
    if decoded is None and math.prod(on_demand.shape) <= KEPT_BYTES:
        decoded = decode_records(records, preprocessor.decode, skip_invalid)
    if decoded is None:
        chunks = decoded_chunks(records, preprocessor.decode, skip_invalid)
    else:
        chunks = decoded.chunks()
    policies = evaluation_policies(classifier.config)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in policies}
    kept: list[ImageRecord] = []
    skipped: list[SkippedImage] = []
    for images in chunks:
        kept += images.records
        skipped += images.skipped
        for name, policy in policies.items() if images.records else ():
            tokens = images.tokenize(classifier.preprocessor(policy)).tokens
            parts[name].append(predict_tokens(classifier, tokens))
    if not kept:
        raise InputError("no images in this split that can be decoded")
    if decoded is None:
        pixels = PixelsOnDemand(kept, preprocessor.image_input)
        decoded = DecodedRecords(pixels, tuple(kept), tuple(skipped))
    predictions = {name: np.concatenate(part) for name, part in parts.items()}
    rows = {
        name: {
            "training_policy": classifier.config.training_policy,
            "test_policy": policy,
            **record_metrics(predictions[name], kept, classifier.config.classes),
            "skipped": len(skipped),
        }
        for name, policy in policies.items()
    }
    return Evaluation(rows, predictions, decoded)


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
    classifier: TokenClassifier, dataset: ImageDataset, evaluation: Evaluation
) -> dict[str, dict]:
    """Metrics of a logistic regression and a random forest on the tokens that the model sees.

    They are fitted under the training policy on the training images that can be decoded.
    """
    config, preprocessor = classifier.config, classifier.preprocessor()
    images = evaluation.in_memory or decode_records(evaluation.records, preprocessor.decode)
    training = images
    if images.records[0].split != "train":
        training = decode_records(dataset.split("train"), preprocessor.decode, skip_invalid=True)
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
