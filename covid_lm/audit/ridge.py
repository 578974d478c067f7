"""Ridge regression of many targets at once, fold by fold, on one set of features."""

import numpy as np
from scipy import linalg


def penalty(num_files: int) -> float:
    """How much a weight is shrunk: as if 3 + 1% more files contradicted its column."""
    return 3 + 0.01 * num_files


class RidgeFit:
    """The features' half of a ridge regression, equal to scikit-learn's `Ridge(penalty(n))`.

    The factorization is kept, so that further targets, thousands of permuted labels for
    instance, cost a matrix product each.

    Args:
        columns: float32 [n, d].
    """

    def __init__(self, columns: np.ndarray):
        self.mean = columns.mean(axis=0)
        self.centred = columns - self.mean
        # Of the two equivalent systems, d x d and n x n, the smaller one.
        self.dual = self.centred.shape[1] > self.centred.shape[0]
        gram = self.centred @ self.centred.T if self.dual else self.centred.T @ self.centred
        gram[np.diag_indices_from(gram)] += penalty(len(columns))
        self.factor = linalg.cho_factor(gram, overwrite_a=True)

    def predict(self, targets: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Fits targets, float32 [n, t], and predicts them less their means, [m, t], for columns."""
        centred = targets - targets.mean(axis=0)
        if self.dual:
            weights = self.centred.T @ linalg.cho_solve(self.factor, centred)
        else:
            weights = linalg.cho_solve(self.factor, self.centred.T @ centred)
        return (columns - self.mean) @ weights


class FoldRidge:
    """Out-of-fold predictions of any number of targets.

    Args:
        columns: float32 [n, d].
        folds: int [n], each file's fold.
    """

    def __init__(self, columns: np.ndarray, folds: np.ndarray):
        self.columns = columns
        self.insides = [folds == fold for fold in np.unique(folds)]
        self.fits = [RidgeFit(columns[~inside]) for inside in self.insides]

    def predict(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predictions, and the same less the training folds' means, float32 [n, targets].

        A fold with many of a class leaves few of it to the others, so their mean runs against
        the label: pooled over folds it would push areas below a half.
        """
        predictions, scores = np.empty_like(targets), np.empty_like(targets)
        for inside, fit in zip(self.insides, self.fits, strict=True):
            scores[inside] = fit.predict(targets[~inside], self.columns[inside])
            predictions[inside] = scores[inside] + targets[~inside].mean(axis=0)
        return predictions, scores
