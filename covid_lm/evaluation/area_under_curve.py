"""The area under the ROC curve of many weightings of the same predictions at once."""

import numpy as np


def areas_under_curve(
    scores: np.ndarray, indicators: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Area under the ROC curve, averaged over the classes, of every weighting of the files.

    Args:
        scores: float [n, k], a column a class; one column for two classes.
        indicators: bool [n, k], whether a file is of that class.
        weights: [n, replicates]; one replicate of ones unless given.

    Returns:
        float [replicates]; NaN where a replicate lacks a class or all but it.
    """
    if weights is None:
        weights = np.ones((len(scores), 1))
    columns = [
        _weighted_area(scores[:, k], indicators[:, k], weights) for k in range(scores.shape[1])
    ]
    return np.mean(columns, axis=0)


def _weighted_area(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mann and Whitney's form: the share of (positive, negative) pairs in the right order."""
    negatives = np.flatnonzero(~positive)
    negatives = negatives[np.argsort(scores[negatives], kind="stable")]
    below = np.zeros((len(negatives) + 1, weights.shape[1]))
    np.cumsum(weights[negatives], axis=0, dtype=float, out=below[1:])
    first, last = (
        np.searchsorted(scores[negatives], scores[positive], side) for side in ("left", "right")
    )
    lower = (below[first] + below[last]) / 2  # equal scores count half
    above = weights[positive]
    with np.errstate(invalid="ignore", divide="ignore"):
        return (above * lower).sum(axis=0) / (above.sum(axis=0, dtype=float) * below[-1])
