"""Classification metrics that count every image.

The predicted class is the one of the highest probability, the first if several are equal. An image
whose probabilities contain a NaN or an infinity is invalid: it has no prediction, counts as wrong
wherever predictions are counted, and is left out of figures that need probabilities (marked *).
A figure that is undefined (no image of a class, no prediction of it, no images) is None. The keys:

- `n`, `correct`, `accuracy`: of all images; `invalid`: the number of invalid ones.
- `ci95`, `ci95_method`: the accuracy's interval (`statistics.accuracy_interval`), over patients if
  all are known; `wilson95`: Wilson's interval over images; `num_patients`: None unless all are
  known.
- `balanced_accuracy`: the mean recall. For two classes `positive_class` (the name of the second),
  `sensitivity`, `specificity`, `precision`, `f1`; for more `macro_precision`, `macro_recall`,
  `macro_f1`, each the mean over the classes.
- `auc`*, `average_precision`*: for two classes of the positive one, else the mean of each class
  against the rest; `auc_ci95`*, `auc_ci95_method`: `statistics.area_interval`.
- `brier`*: mean squared error of the probabilities (Brier 1950), for two classes of the positive
  one (0 to 1), else summed over the classes (0 to 2); `reliability`*, `ece`*: see
  `reliability_bins` and `expected_calibration_error`.
- `confusion`: image counts, rows true, columns predicted class, without the invalid images;
  `invalid_by_class`: the invalid images by true class. Together the two sum to n.
"""

from collections.abc import Sequence

import numpy as np
from sklearn import metrics

from covid_lm.data.splits import patient_groups
from covid_lm.evaluation.statistics import accuracy_interval, area_interval, wilson_interval

NUM_BINS = 10


def classification_metrics(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str] | None = None,
    patients: Sequence[str | None] | None = None,
) -> dict:
    """Compute all metrics of a classifier on a set of images, ready for JSON.

    Args:
        probabilities: float [n, classes].
        labels: int [n].
        classes: class names; "0", "1" and so on by default.
        patients: of each image, None where unknown.

    Returns:
        The keys listed in this module's docstring.

    Raises:
        ValueError: shapes disagree, or a label is not a class.
    """
    probabilities, labels = np.asarray(probabilities, float), np.asarray(labels, int)
    _check(probabilities, labels, classes, patients)
    num_classes = probabilities.shape[1]
    names = [str(index) for index in range(num_classes)] if classes is None else classes
    shown = np.arange(num_classes)[1 if num_classes == 2 else 0 :]  # the positive class, or all
    valid = np.isfinite(probabilities).all(axis=1)
    answered, truth = probabilities[valid], labels[valid]
    predicted = np.full(len(labels), num_classes)  # no class, where invalid
    predicted[valid] = answered.argmax(axis=1)
    correct = predicted == labels
    num_patients = None if patients is None or None in patients else len(set(patients))
    groups = patient_groups(patients) if patients and (num_patients or 0) > 1 else None
    interval, method = accuracy_interval(correct, groups)
    counts = np.zeros((num_classes, num_classes + 1), int)
    np.add.at(counts, (labels, predicted), 1)
    # Not scikit-learn's score, which warns of float32 rows that add up to 1 only in float32.
    errors = np.sum((answered - np.eye(num_classes)[truth])[:, shown] ** 2, axis=1)
    bins = reliability_bins(answered, truth)
    return {
        "n": len(labels),
        "correct": int(correct.sum()),
        "accuracy": float(correct.mean()) if len(labels) else None,
        "ci95": interval,
        "ci95_method": method,
        "wilson95": wilson_interval(int(correct.sum()), len(labels)),
        "num_patients": num_patients,
        "invalid": int(np.sum(~valid)),
        **_ranking(
            answered[:, shown],
            truth[:, np.newaxis] == shown,
            None if groups is None else groups[valid],
        ),
        "brier": float(errors.mean()) if len(errors) else None,
        "ece": expected_calibration_error(bins),
        "reliability": bins,
        **_rates(labels, predicted, names),
        "confusion": counts[:, :-1].tolist(),
        "invalid_by_class": counts[:, -1].tolist(),
    }


def _check(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str] | None,
    patients: Sequence[str | None] | None,
) -> None:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        shapes = f"probabilities {probabilities.shape} and labels {labels.shape}"
        raise ValueError(f"{shapes}: [n, classes] and [n]")
    n, num_classes = probabilities.shape
    if n and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f"labels {labels.min()} to {labels.max()}: 0 to {num_classes - 1}")
    if classes is not None and len(classes) != num_classes:
        raise ValueError(f"{len(classes)} class names for {num_classes} classes")
    if patients is not None and len(patients) != n:
        raise ValueError(f"{len(patients)} patients for {n} images")


def _rates(labels: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> dict:
    precision = recall = f1 = np.full(len(names), np.nan)
    if len(labels):
        precision, recall, f1, _ = metrics.precision_recall_fscore_support(
            labels, predicted, labels=range(len(names)), zero_division=np.nan
        )
    rates = {"balanced_accuracy": _defined(recall.mean())}
    if len(names) != 2:
        return rates | {
            "macro_precision": _defined(precision.mean()),
            "macro_recall": _defined(recall.mean()),
            "macro_f1": _defined(f1.mean()),
        }
    return rates | {
        "positive_class": names[1],
        "sensitivity": _defined(recall[1]),
        "specificity": _defined(recall[0]),
        "precision": _defined(precision[1]),
        "f1": _defined(f1[1]),
    }


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _ranking(scores: np.ndarray, indicators: np.ndarray, groups: np.ndarray | None) -> dict:
    area = precision = None
    if indicators.any(axis=0).all() and not indicators.all(axis=0).any():
        area = float(metrics.roc_auc_score(indicators, scores))
        precision = float(metrics.average_precision_score(indicators, scores))
    interval, method = area_interval(scores, indicators, groups)
    return {
        "auc": area,
        "auc_ci95": interval,
        "auc_ci95_method": method,
        "average_precision": precision,
    }


def reliability_bins(probabilities: np.ndarray, labels: np.ndarray) -> list[dict]:
    """Confidence and accuracy in ten bins of equal width.

    The confidence is the predicted class's probability. A bin holds low < confidence <= high, as
    in Guo et al. (2017), "On calibration of modern neural networks", ICML; 0 is in the first.

    Args:
        probabilities: float [n, classes], finite.
        labels: int [n].

    Returns:
        For each bin `low`, `high`, `n`, `mean_confidence` and `accuracy`, the latter two None
        if it is empty.
    """
    confidences = probabilities.max(axis=1, initial=0)
    correct = probabilities.argmax(axis=1) == labels
    edges = np.arange(NUM_BINS + 1) / NUM_BINS
    places = np.digitize(confidences, edges[1:-1], right=True)
    counts = np.bincount(places, minlength=NUM_BINS)
    with np.errstate(invalid="ignore"):  # An empty bin's mean is NaN.
        confidence = np.bincount(places, confidences, NUM_BINS) / counts
        accuracy = np.bincount(places, correct, NUM_BINS) / counts
    return [
        {
            "low": float(edges[place]),
            "high": float(edges[place + 1]),
            "n": int(counts[place]),
            "mean_confidence": _defined(confidence[place]),
            "accuracy": _defined(accuracy[place]),
        }
        for place in range(NUM_BINS)
    ]


def expected_calibration_error(bins: list[dict]) -> float | None:
    """The mean distance between confidence and accuracy, over the images of `reliability_bins`."""
    filled = [row for row in bins if row["n"]]
    distances = [row["n"] * abs(row["mean_confidence"] - row["accuracy"]) for row in filled]
    return sum(distances) / sum(row["n"] for row in filled) if filled else None
