"""A small classifier with random weights, evaluated: the input of a report."""

import dataclasses

import numpy as np

from covid_lm.evaluation.protocol_metrics import evaluation_policies
from covid_lm.models.classifier import predict_tokens
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.pipeline.decoded import DecodedRecords, decode_records
from tests.audit.synthetic import record
from tests.conftest import encode, random_picture
from tests.serving.tiny_model import tiny_classifier

HOSTILE = "<script>alert(1)</script>.png"
NAMES = ("a.png", "co\udcffpy & \x01.png", "n" * 300 + ".png", "scan $x_1$ 'q'.png")


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """The arguments of `report_html`."""

    classifier: TokenClassifier
    images: DecodedRecords
    predictions: dict[str, np.ndarray]
    metrics: dict
    epochs: list[dict]
    run: dict

    def arguments(self, **changes) -> dict:
        """The arguments of `report_html`, some replaced."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**values, **changes}


def evaluated(
    classes: tuple[str, ...] = ("<cat>", "dog | a"),
    protocol: str = "paper",
    layout: str = "paper",
    images_per_class: int = 6,
) -> Evaluated:
    """Random images of the given classes, predicted by a classifier with random weights."""
    three = tiny_classifier(protocol, layout)
    config = dataclasses.replace(three.config, classes=classes)
    classifier = TokenClassifier(config, three.vocabulary)
    for variable, source in zip(
        classifier.embedding.trainable_variables, three.embedding.trainable_variables, strict=True
    ):
        variable.assign(source)
    records = [
        record(
            NAMES[number] if number < len(NAMES) else f"{number}{HOSTILE}",
            number % len(classes),
            "test",
            encode(random_picture(40, 48, number), "PNG" if number % 2 else "JPEG"),
            f"patient {number % 4}",
        )
        for number in range(len(classes) * images_per_class)
    ]
    images = decode_records(records, classifier.preprocessor().image_input)
    predictions = {
        name: predict_tokens(classifier, images.tokenize(classifier.preprocessor(policy)).tokens)
        for name, policy in evaluation_policies(config).items()
    }
    labels = np.array([r.label for r in records])
    policies = evaluation_policies(config)
    rows = {
        name: full_row(predictions[name], labels, config.training_policy, policies[name])
        for name in predictions
    }
    metrics = {
        "dataset": "covid_ct",
        "split": "test",
        "headline": "It reads one [MASK].",
        "classes": list(classes),
        "weights": "random",
        "early_stopping": "test",
        "protocols": rows,
        "name_alone": {"n": 12, "correct": 12, "accuracy": 1.0, "ci95": [0.76, 1.0], "auc": 1.0},
        "factors": {
            "scanner | 1": {
                "groups": [
                    {"level": "A & B", **factor_row(8)},
                    {"level": None, "suppressed": "fewer than 10 patients"},
                ]
            },
            "note": {"left_out": "12 different values"},
        },
        "floors": {"most frequent class": {"n": 12, "correct": 6, "accuracy": 0.5}},
    }
    epochs = [
        {"epoch": 1, "loss": 0.7, "accuracy": 0.5, "val_loss": 0.71, "val_accuracy": 0.4},
        {"epoch": 2, "loss": 0.6, "accuracy": 0.75, "val_loss": 0.69, "val_accuracy": 0.5},
    ]
    run = {"dataset": "covid_ct", "backbone": "tiny", "weights": None, "layout": layout, "seed": 0}
    run |= {"early_stopping": "test", "data_dir": "a <b>"}
    return Evaluated(classifier, images, predictions, metrics, epochs, run)


def factor_row(count: int) -> dict:
    """Figures of a group, as in `factor_metrics`."""
    return {
        **{"n": count, "num_patients": 2, "correct": 6},
        **{"accuracy": 0.75, "ci95": [0.5, 0.9], "ci95_method": "patient bootstrap"},
        **{"auc": 0.625, "auc_ci95": [0.25, 0.875], "auc_ci95_method": "patient bootstrap"},
    }


def full_row(probabilities, labels, training_policy: str, test_policy: str) -> dict:
    """A row with all keys; only its counts are computed from the predictions."""
    classes = probabilities.shape[1]
    confusion = np.zeros([classes, classes], int)
    np.add.at(confusion, (labels, probabilities.argmax(axis=1)), 1)
    correct = int(np.trace(confusion))
    return {
        "training_policy": training_policy,
        "test_policy": test_policy,
        "n": len(labels),
        "correct": correct,
        "accuracy": correct / len(labels),
        "ci95": [0.25, 0.75],
        "ci95_method": "patient bootstrap",
        "wilson95": [0.3, 0.7],
        "num_patients": 4,
        "auc": 0.5,
        "auc_ci95": [0.2, 0.8],
        "balanced_accuracy": 0.5,
        "sensitivity": 0.5,
        "specificity": None,
        "precision": float("nan"),
        "f1": 0.5,
        "positive_class": "<dog>",
        "average_precision": 0.5,
        "brier": 0.25,
        "ece": 0.125,
        "reliability": [
            {"low": 0.0, "high": 0.5, "n": 0, "mean_confidence": None, "accuracy": None},
            {"low": 0.5, "high": 0.75, "n": 4, "mean_confidence": 0.6, "accuracy": 0.25},
            {"low": 0.75, "high": 1.0, "n": 8, "mean_confidence": 0.9, "accuracy": 0.5},
        ],
        "confusion": confusion.tolist(),
        "invalid": 0,
    }
