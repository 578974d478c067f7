"""How well the label can be told from one kind of feature: a linear probe, tested by permutation.

A probe is ridge regression of the class indicators on binned features. It is scored out of fold,
no patient being on both sides, on all the data; the score on the data set's own test split stands
beside it. Least squares fits any number of permuted labels in one matrix product, so that every
permutation is a full cross-validation, fits and all (a test that permutes only finished scores
takes cross-validated ones for independent, which they aren't).
"""

import dataclasses

import numpy as np

from covid_lm.audit.design_matrix import DesignMatrix, Features, design_matrix
from covid_lm.audit.intervals import (
    bounded_area_interval,
    design_effect,
    design_effect_interval,
)
from covid_lm.audit.ridge import FoldRidge, RidgeFit
from covid_lm.evaluation.statistics import areas_under_curve

FOLDS = 5
PERMUTATIONS = 999
FIRST_PERMUTATIONS = 99
_ENOUGH_EXCEEDANCES = 10
_MAX_CELLS = 8_000_000
NUM_MARKERS = 5


@dataclasses.dataclass(frozen=True)
class Score:
    """Predictions of n files counted.

    Attributes:
        n, correct: files, and those whose class was told.
        accuracy, accuracy_interval: with its 95% interval over groups.
        majority: the share of the most frequent class, which a guess would reach.
        auc, auc_interval: area under the ROC curve (for more classes the mean of one against the
            rest), with its 95% interval over groups.
        design_effect: how much wider than over single files the accuracy's variance is.
    """

    n: int
    correct: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    majority: float
    auc: float
    auc_interval: tuple[float, float]
    design_effect: float


@dataclasses.dataclass(frozen=True)
class Marker:
    """One column that goes with the label.

    Attributes:
        text: what it says of a file.
        class_shares: the share of each class's files of which it is true.
        files: their indices.
    """

    text: str
    class_shares: tuple[float, ...]
    files: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """What one probe found.

    Attributes:
        score: out of fold, on all files.
        test: fitted on the other splits, on the test split; None where it lacks a class.
        p_value: of the labels being no better told than if they were shuffled among the groups:
            twice the smaller of the two permutation p-values, of the out-of-fold correlation and
            of the strongest single column.
        permutations: how many were drawn.
        markers: the columns that go with the label most, strongest first.
    """

    score: Score
    test: Score | None
    p_value: float
    permutations: int
    markers: tuple[Marker, ...]


@dataclasses.dataclass(frozen=True)
class Labels:
    """The probes' target and what its randomness is.

    Attributes:
        labels: int [n], 0 to num_classes - 1.
        groups: int [n], 0 to the number of groups - 1: files that aren't independent share one.
        is_test: bool [n].
        num_classes: 2 or more.
        seed: of folds, permutations and bootstraps.
    """

    labels: np.ndarray
    groups: np.ndarray
    is_test: np.ndarray
    num_classes: int
    seed: int = 0

    def indicators(self, labels: np.ndarray) -> np.ndarray:
        """bool [n, ..., k] of int labels [n, ...]: k is 1 for two classes."""
        if self.num_classes == 2:
            return (labels == 1)[..., None]
        return labels[..., None] == np.arange(self.num_classes)


def run_probe(
    features: Features, target: Labels, permutations: int = PERMUTATIONS
) -> ProbeResult | None:
    """Probes the labels; None where the features are the same for every file."""
    matrix = design_matrix(features, len(target.labels))
    if not matrix.names:
        return None
    rng = np.random.default_rng(target.seed)
    model = FoldRidge(matrix.columns, _folds(target.groups, rng))
    truth = target.indicators(target.labels)
    predictions, scores = model.predict(truth.astype(np.float32))
    score = _score(predictions, scores, target, np.arange(len(truth)), rng)
    p_value, drawn = _permutation_test(matrix, target, model, scores, permutations, rng)
    return ProbeResult(
        score=score,
        test=_test_score(matrix.columns, truth, target, rng),
        p_value=p_value,
        permutations=drawn,
        markers=_markers(matrix, target),
    )


def _folds(groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Each file's fold, without a look at the labels, which the permutations exchange."""
    num_groups = int(groups.max()) + 1
    return (rng.permutation(num_groups) % min(FOLDS, num_groups))[groups]


def _predicted_labels(predictions: np.ndarray) -> np.ndarray:
    if predictions.shape[1] == 1:
        return (predictions[:, 0] > 0.5).astype(int)
    return predictions.argmax(axis=1)


def _score(
    predictions: np.ndarray,
    scores: np.ndarray,
    target: Labels,
    files: np.ndarray,
    rng: np.random.Generator,
) -> Score:
    labels = target.labels[files]
    _, groups = np.unique(target.groups[files], return_inverse=True)
    correct = _predicted_labels(predictions) == labels
    truth = target.indicators(labels)
    rounded = np.round(scores.astype(float), 6)  # equal columns, equal scores
    return Score(
        n=len(labels),
        correct=int(correct.sum()),
        accuracy=float(correct.mean()),
        accuracy_interval=design_effect_interval(correct, groups),
        majority=float(np.bincount(labels).max() / len(labels)),
        auc=float(areas_under_curve(rounded, truth)[0]),
        auc_interval=bounded_area_interval(rounded, truth, groups, rng),
        design_effect=design_effect(correct, groups),
    )


def _test_score(
    columns: np.ndarray, truth: np.ndarray, target: Labels, rng: np.random.Generator
) -> Score | None:
    test = np.flatnonzero(target.is_test)
    train = np.flatnonzero(~target.is_test)
    if len(np.unique(target.labels[test])) < target.num_classes or not len(train):
        return None
    targets = truth[train].astype(np.float32)
    scores = RidgeFit(columns[train]).predict(targets, columns[test])
    return _score(scores + targets.mean(axis=0), scores, target, test, rng)


def permuted_labels(
    labels: np.ndarray, groups: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Labels shuffled among whole groups, int [n, count].

    Groups of one label exchange their labels with each other; where a group has files of several,
    they are shuffled within it.
    """
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(groups[order]) > 0])
    first = labels[order][starts]
    pure = np.minimum.reduceat(labels[order], starts) == np.maximum.reduceat(labels[order], starts)
    by_group = np.repeat(first[:, None], count, axis=1)
    by_group[pure] = rng.permuted(by_group[pure], axis=0)
    permuted = by_group[groups]
    for group in np.flatnonzero(~pure):
        members = np.flatnonzero(groups == group)
        repeated = np.repeat(labels[members][:, None], count, axis=1)
        permuted[members] = rng.permuted(repeated, axis=0)
    return permuted


def _permutation_test(
    matrix: DesignMatrix,
    target: Labels,
    model: FoldRidge,
    scores: np.ndarray,
    permutations: int,
    rng: np.random.Generator,
) -> tuple[float, int]:
    """The p-value and the number of permutations drawn.

    After the first 99 only a probe that fewer than 10 of them reached is tested on.
    """
    truth = target.indicators(target.labels).astype(np.float32)
    standardized = _standardized(matrix.columns)
    observed = (
        _mean_correlation(scores[:, None], truth[:, None])[0],
        _strongest(standardized, truth[:, None])[0],
    )
    exceeding, drawn = np.zeros(2, int), 0
    chunk = max(1, _MAX_CELLS // (len(truth) * truth.shape[1]))
    while drawn < permutations:
        screening = drawn < FIRST_PERMUTATIONS
        goal = min(FIRST_PERMUTATIONS if screening else permutations, permutations)
        count = min(chunk, goal - drawn)
        labels = permuted_labels(target.labels, target.groups, count, rng)
        shuffled = target.indicators(labels).astype(np.float32)  # [n, count, k]
        flat = shuffled.reshape(len(truth), -1)
        _, outside = model.predict(flat)
        exceeding[0] += np.sum(
            _mean_correlation(outside.reshape(shuffled.shape), shuffled) >= observed[0] - 1e-6
        )
        exceeding[1] += np.sum(_strongest(standardized, shuffled) >= observed[1] - 1e-6)
        drawn += count
        if drawn == FIRST_PERMUTATIONS and exceeding.min() >= _ENOUGH_EXCEEDANCES:
            break
    smaller = (exceeding.min() + 1) / (drawn + 1)
    return float(min(1.0, 2 * smaller)), drawn


def _standardized(columns: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and length 1; constant ones become 0."""
    centred = columns - columns.mean(axis=0)
    return centred / np.maximum(np.linalg.norm(centred, axis=0), 1e-6)


def _mean_correlation(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Of [n, permutations, k] with the same: the correlation, averaged over k."""
    return (_standardized(scores) * _standardized(truth)).sum(axis=0).mean(axis=-1)


def _strongest(standardized: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The largest absolute correlation of any column [n, d] with any class, by permutation."""
    flat = _standardized(truth).reshape(len(truth), -1)
    largest = np.abs(standardized.T @ flat).max(axis=0)
    return largest.reshape(truth.shape[1:]).max(axis=-1)


def _markers(matrix: DesignMatrix, target: Labels) -> tuple[Marker, ...]:
    truth = target.indicators(target.labels).astype(np.float32)
    strength = np.abs(_standardized(matrix.columns).T @ _standardized(truth)).max(axis=1)
    markers = []
    for index in np.argsort(-strength, kind="stable")[:NUM_MARKERS]:
        column = matrix.columns[:, index] > 0
        shares = [column[target.labels == k].mean() for k in range(target.num_classes)]
        files = tuple(int(i) for i in np.flatnonzero(column))
        markers.append(Marker(matrix.names[index], tuple(map(float, shares)), files))
    return tuple(markers)
