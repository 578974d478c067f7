"""Figures for one set of predictions, as counts over every example."""

import numpy as np
from scipy import stats
from sklearn import metrics


def classification_metrics(probabilities: np.ndarray, labels: np.ndarray) -> dict:
    """Accuracy with its interval, and the area under the ROC curve.

    Args:
        probabilities: float [n, classes].
        labels: int [n].

    Returns:
        `n`, `correct`, `accuracy`, `ci95` (Wilson's interval of the accuracy over images) and
        `auc`: of class 1 for two classes, else the mean of one class against the rest; None where
        a class has no example.
    """
    n = len(labels)
    correct = int(np.sum(np.argmax(probabilities, axis=1) == labels))
    interval = stats.binomtest(correct, n).proportion_ci(0.95, method="wilson")
    return {
        "n": n,
        "correct": correct,
        "accuracy": correct / n,
        "ci95": [float(interval.low), float(interval.high)],
        "auc": _area_under_curve(probabilities, labels),
    }


def _area_under_curve(probabilities: np.ndarray, labels: np.ndarray) -> float | None:
    num_classes = probabilities.shape[1]
    if len(np.unique(labels)) < num_classes:
        return None
    if num_classes == 2:
        return float(metrics.roc_auc_score(labels, probabilities[:, 1]))
    areas = [
        metrics.roc_auc_score(labels == label, probabilities[:, label])
        for label in range(num_classes)
    ]
    return float(np.mean(areas))


def metrics_table(protocols: dict[str, dict]) -> str:
    """Metrics by protocol as text for a terminal."""
    lines = [
        f"{'protocol':<10} {'trained':<8} {'tested':<8} {'correct':>11}  "
        f"{'accuracy [95% CI]':<20} AUC"
    ]
    for name, row in protocols.items():
        low, high = row["ci95"]
        area = "  -" if row["auc"] is None else f"{row['auc']:.3f}"
        counts = f"{row['correct']}/{row['n']}"
        lines.append(
            f"{name:<10} {row['training_policy']:<8} {row['test_policy']:<8} {counts:>11}  "
            f"{row['accuracy']:.3f} [{low:.3f}, {high:.3f}] {area}"
        )
    return "\n".join(lines)
