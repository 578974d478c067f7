"""Figures for one set of predictions, as counts over every example.

The predicted class is the most probable one, the first of equals. A row of probabilities with a
NaN or an infinity is an invalid image: it was not answered, and so counts as wrong in all that
counts answers, and is left out of what needs probabilities (marked * below). What is undefined (no
example of a class, nothing predicted as it, no image at all) is None. The keys:

- `n`, `correct`, `accuracy`: of all images; `invalid`: how many of them are.
- `ci95`, `ci95_method`: the accuracy's headline interval (`intervals.accuracy_interval`), over
  patients where all are known; `wilson95`: always Wilson's over images; `num_patients`: None
  unless all are known.
- `balanced_accuracy`: the mean recall. Of two classes `positive_class` (its name), `sensitivity`,
  `specificity`, `precision`, `f1`; of more `macro_precision`, `macro_recall`, `macro_f1`, each the
  mean over the classes.
- `auc`*, `average_precision`*: of the positive one of two classes, else the mean of one class
  against the rest; `auc_ci95`*, `auc_ci95_method`: `intervals.area_interval`.
- `brier`*, `ece`*, `reliability`*: `reliability.brier_score` and the others there.
- `confusion`: image counts, rows the true, columns the predicted class, without the invalid;
  `invalid_by_class`: those, by true class. Together the two sum to n.
"""

from collections.abc import Sequence

import numpy as np
from sklearn import metrics

from covid_lm.evaluation.statistics import (
    PATIENT_BOOTSTRAP,
    PATIENT_WILSON,
    accuracy_interval,
    area_interval,
    patient_groups,
    wilson_interval,
)


def classification_metrics(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str] | None = None,
    patients: Sequence[str | None] | None = None,
    positive_class: int = 1,
) -> dict:
    """Every figure of a classifier's answers, ready for JSON.

    Args:
        probabilities: float [n, classes].
        labels: int [n].
        classes: their names; "0", "1" and so on unless given.
        patients: of each image, None where unknown.
        positive_class: which of two classes sensitivity and the like are about.

    Returns:
        The keys in this module's first lines.

    Raises:
        ValueError: shapes that disagree, or a label or `positive_class` that is no class.
    """
    probabilities, labels = np.asarray(probabilities, float), np.asarray(labels, int)
    _check(probabilities, labels, classes, patients, positive_class)
    valid = np.isfinite(probabilities).all(axis=1)
    answered, truth = probabilities[valid], labels[valid]
    correct = np.zeros(len(labels), bool)
    correct[valid] = answered.argmax(axis=1) == truth
    groups = patient_groups(patients)
    interval, method = accuracy_interval(correct, groups)
    bins = reliability_bins(answered, truth)
    return {
        "n": len(labels),
        "correct": int(correct.sum()),
        "accuracy": _ratio(correct.sum(), len(labels)),
        "ci95": interval,
        "ci95_method": method,
        "wilson95": wilson_interval(int(correct.sum()), len(labels)),
        "num_patients": _num_patients(patients),
        "invalid": int(np.sum(~valid)),
        **_ranking(answered, truth, None if groups is None else groups[valid], positive_class),
        "brier": brier_score(answered, truth, positive_class),
        "ece": expected_calibration_error(bins),
        "reliability": bins,
        **_counted(answered, labels, valid, classes, positive_class),
    }


def _check(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str] | None,
    patients: Sequence[str | None] | None,
    positive_class: int,
) -> None:
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1]:
        raise ValueError(
            f"probabilities {probabilities.shape} and labels {labels.shape}: [n, classes] and [n]"
        )
    n, num_classes = probabilities.shape
    if n and not 0 <= labels.min() <= labels.max() < num_classes:
        raise ValueError(f"labels {labels.min()} to {labels.max()}: 0 to {num_classes - 1}")
    if classes is not None and len(classes) != num_classes:
        raise ValueError(f"{len(classes)} class names for {num_classes} classes")
    if patients is not None and len(patients) != n:
        raise ValueError(f"{len(patients)} patients for {n} images")
    if num_classes == 2 and positive_class not in (0, 1):
        raise ValueError(f"positive_class {positive_class}: 0 or 1")


def _num_patients(patients: Sequence[str | None] | None) -> int | None:
    if patients is None or any(patient is None for patient in patients):
        return None
    return len(set(patients))


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _counted(
    answered: np.ndarray,
    labels: np.ndarray,
    valid: np.ndarray,
    classes: Sequence[str] | None,
    positive_class: int,
) -> dict:
    num_classes = answered.shape[1]
    confusion = np.zeros((num_classes, num_classes), int)
    np.add.at(confusion, (labels[valid], answered.argmax(axis=1)), 1)
    support = np.bincount(labels, minlength=num_classes)
    names = [str(index) for index in range(num_classes)] if classes is None else classes
    return {
        **_rates(confusion, support, names, positive_class),
        "confusion": confusion.tolist(),
        "invalid_by_class": (support - confusion.sum(axis=1)).tolist(),
    }


def _rates(
    confusion: np.ndarray, support: np.ndarray, names: Sequence[str], positive_class: int
) -> dict:
    hits, predicted = np.diag(confusion), confusion.sum(axis=0)
    recall = [_ratio(*pair) for pair in zip(hits, support, strict=True)]
    precision = [_ratio(*pair) for pair in zip(hits, predicted, strict=True)]
    f1 = [_ratio(*pair) for pair in zip(2 * hits, support + predicted, strict=True)]
    rates = {"balanced_accuracy": _mean(recall)}
    if len(names) != 2:
        return rates | {
            "macro_precision": _mean(precision),
            "macro_recall": _mean(recall),
            "macro_f1": _mean(f1),
        }
    return rates | {
        "positive_class": names[positive_class],
        "sensitivity": recall[positive_class],
        "specificity": recall[1 - positive_class],
        "precision": precision[positive_class],
        "f1": f1[positive_class],
    }


def _ranking(
    scores: np.ndarray, labels: np.ndarray, groups: np.ndarray | None, positive_class: int
) -> dict:
    shown = [positive_class] if scores.shape[1] == 2 else list(range(scores.shape[1]))
    indicators = labels[:, None] == np.array(shown)
    columns = list(zip(indicators.T, scores[:, shown].T, strict=True))
    area = precision = None
    if all(indicator.any() and not indicator.all() for indicator, _ in columns):
        area = float(np.mean([metrics.roc_auc_score(*column) for column in columns]))
        precision = float(np.mean([metrics.average_precision_score(*c) for c in columns]))
    interval, method = area_interval(scores[:, shown], indicators, groups)
    return {
        "auc": area,
        "auc_ci95": interval,
        "auc_ci95_method": method,
        "average_precision": precision,
    }


def metrics_table(protocols: dict[str, dict]) -> str:
    """Metrics by protocol as text for a terminal, with what the intervals are of."""
    width = max(10, *map(len, protocols))
    lines = [
        f"{'protocol':<{width}} {'trained':<8} {'tested':<8} {'correct':>11}  "
        f"{'accuracy [95% CI]':<20} AUC"
    ]
    for name, row in protocols.items():
        area = "  -" if row["auc"] is None else f"{row['auc']:.3f}"
        counts = f"{row['correct']}/{row['n']}"
        accuracy = "-"
        if row["accuracy"] is not None:
            low, high = row["ci95"]
            accuracy = f"{row['accuracy']:.3f} [{low:.3f}, {high:.3f}]"
        trained, tested = row.get("training_policy", "-"), row.get("test_policy", "-")
        lines.append(
            f"{name:<{width}} {trained:<8} {tested:<8} {counts:>11}  {accuracy:<20} {area}"
        )
    return "\n".join(lines + _table_notes(protocols))


def _table_notes(protocols: dict[str, dict]) -> list[str]:
    methods = {}
    for row in protocols.values():
        over = f"{row['n']} images"
        if row["ci95_method"] in (PATIENT_BOOTSTRAP, PATIENT_WILSON):
            over = f"{row['num_patients']} patients"
        methods[row["ci95_method"]] = f"{row['ci95_method']} ({over})"
    notes = [f"95% CI of the accuracy: {', '.join(methods.values())}"]
    for name, row in protocols.items():
        if row["invalid"]:
            notes.append(f"{name}: {row['invalid']} of {row['n']} images invalid, counted as wrong")
    return notes


NUM_BINS = 10


def reliability_bins(probabilities: np.ndarray, labels: np.ndarray) -> list[dict]:
    """Confidence against accuracy in ten bins of equal width.

    The confidence is the predicted class's probability. A bin holds low < confidence <= high, as
    in Guo et al. (2017), "On calibration of modern neural networks", ICML; 0 is in the first.

    Args:
        probabilities: float [n, classes], finite.
        labels: int [n].

    Returns:
        Of each bin `low`, `high`, `n`, `mean_confidence` and `accuracy`, the latter two None
        where it is empty.
    """
    confidences = probabilities.max(axis=1, initial=0)
    correct = probabilities.argmax(axis=1) == labels
    edges = np.arange(NUM_BINS + 1) / NUM_BINS
    places = np.digitize(confidences, edges[1:-1], right=True)
    bins = []
    for place in range(NUM_BINS):
        inside = places == place
        n = int(inside.sum())
        bins.append(
            {
                "low": float(edges[place]),
                "high": float(edges[place + 1]),
                "n": n,
                "mean_confidence": float(confidences[inside].mean()) if n else None,
                "accuracy": float(correct[inside].mean()) if n else None,
            }
        )
    return bins


def expected_calibration_error(bins: list[dict]) -> float | None:
    """The mean distance of confidence and accuracy over the images of `reliability_bins`."""
    filled = [row for row in bins if row["n"]]
    if not filled:
        return None
    distances = [row["n"] * abs(row["mean_confidence"] - row["accuracy"]) for row in filled]
    return sum(distances) / sum(row["n"] for row in filled)


def brier_score(
    probabilities: np.ndarray, labels: np.ndarray, positive_class: int = 1
) -> float | None:
    """The mean squared error of the probabilities (Brier 1950).

    Of two classes that of the positive class alone, 0 to 1; of more the sum over the classes, 0
    to 2.

    Args:
        probabilities: float [n, classes], finite.
        labels: int [n].
    """
    n, num_classes = probabilities.shape
    if n == 0:
        return None
    errors = probabilities.astype(float)
    errors[np.arange(n), labels] -= 1
    if num_classes == 2:
        errors = errors[:, [positive_class]]
    return float(np.sum(errors**2) / n)
