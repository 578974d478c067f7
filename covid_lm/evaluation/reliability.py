"""Whether probabilities mean what they say: reliability bins, calibration error, Brier score."""

import numpy as np

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
