"""Ridge regression of many targets at once on one set of features, with cross-validation."""

import numpy as np
from scipy import linalg


def penalty(num_files: int) -> float:
    """Shrinkage of a weight, equal to 3 + 1% of the files as evidence against its column."""
    return 3 + 0.01 * num_files


class RidgeFit:
    """The features' half of a ridge regression, equal to scikit-learn's `Ridge(penalty(n))`.

    The factorization is kept, so that every further target (thousands of permuted labels) costs
    one matrix product.

    Args:
        columns: float32 [n, d].
    """

    def __init__(self, columns: np.ndarray):
        self.mean = columns.mean(axis=0)
        self.centred = columns - self.mean
        # Solves the smaller of the two equivalent systems, d x d or n x n.
        self.dual = self.centred.shape[1] > self.centred.shape[0]
        gram = self.centred @ self.centred.T if self.dual else self.centred.T @ self.centred
        gram[np.diag_indices_from(gram)] += penalty(len(columns))
        self.factor = linalg.cho_factor(gram, overwrite_a=True)

    def predict(self, targets: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Fits targets [n, t] and predicts them, minus their means, for columns [m, d]: [m, t]."""
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
        folds: int [n], the fold of each file.
    """

    def __init__(self, columns: np.ndarray, folds: np.ndarray):
        self.columns = columns
        self.insides = [folds == fold for fold in np.unique(folds)]
        self.fits = [RidgeFit(columns[~inside]) for inside in self.insides]

    def predict(self, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predicts each file from the other folds.

        A fold with many files of a class leaves few of them to the other folds, so the mean of
        these folds is negatively correlated with the label and would bias AUCs pooled over folds
        below 0.5. Scores are therefore predictions minus that mean.

        Returns:
            Predictions and scores, float32 [n, t] each, like the targets.
        """
        predictions, scores = np.empty_like(targets), np.empty_like(targets)
        for inside, fit in zip(self.insides, self.fits, strict=True):
            scores[inside] = fit.predict(targets[~inside], self.columns[inside])
            predictions[inside] = scores[inside] + targets[~inside].mean(axis=0)
        return predictions, scores
