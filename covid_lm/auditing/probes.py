"""Probes: how well one kind of feature predicts the label, with a test.

A probe is a ridge regression of the class indicators on binned features, next to exact tests of
single columns (`markers`). It is scored out of fold on all the data, with no patient in both parts
of a fold, and on the data set's own test split.
Least squares fits any number of permuted labels in one matrix product, so every permutation is a
complete cross-validation: a permutation of finished scores would take these as independent.
"""

import dataclasses

import numpy as np

from covid_lm.auditing.design_matrix import Features, design_matrix, standardized
from covid_lm.auditing.markers import Markers, collect_markers, exact_test
from covid_lm.auditing.ridge import FoldRidge, RidgeFit
from covid_lm.evaluation.statistics import (
    areas_under_curve,
    bounded_area_interval,
    design_effect,
    design_effect_interval,
)

FOLDS = 5
PERMUTATIONS = 4999
STAGES = (99, 999)
NUM_MARKERS = 5
_ENOUGH_EXCEEDANCES = 10
_DECISIVE = 1e-4  # an exact test's p-value that permutations need not support
_MAX_CELLS = 8_000_000


@dataclasses.dataclass(frozen=True)
class Score:
    """Score of the predictions of n files.

    Attributes:
        n, correct: number of files, and of correct predictions.
        accuracy, accuracy_interval: with its 95% interval over groups.
        majority: share of the most frequent class, the accuracy of a constant guess.
        auc, auc_interval: area under the ROC curve (for more than two classes the mean of one
            against the rest), with its 95% interval over groups.
        design_effect: variance of the accuracy relative to that of independent files.
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
    """A statement on files that predicts the label.

    Attributes:
        text: the statement.
        class_shares: for each class, the share of its files for which the statement holds.
        files: indices of the files for which it holds.
    """

    text: str
    class_shares: tuple[float, ...]
    files: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """Result of one probe.

    Attributes:
        score: out of fold, on all files.
        test: fitted on the other splits and scored on the test split; None if that lacks a class.
        p_value: of the hypothesis that the labels are exchangeable between groups: twice the
            smaller of the p-values of the out-of-fold correlation (by permutations) and of the
            strongest marker.
        marker_p_value: of the strongest marker by the exact test, corrected for their number.
        permutations: number of permutations.
        markers: the statements with the smallest p-values, smallest first.
    """

    score: Score
    test: Score | None
    p_value: float
    marker_p_value: float
    permutations: int
    markers: tuple[Marker, ...]


@dataclasses.dataclass(frozen=True)
class Labels:
    """Target of the probes.

    Attributes:
        labels: int [n], 0 to num_classes - 1.
        groups: int [n], 0 to the number of groups - 1; dependent files have the same group.
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
        """Class indicators, bool [n, ..., k], of int labels [n, ...]; k is 1 for two classes."""
        if self.num_classes == 2:
            return (labels == 1)[..., None]
        return labels[..., None] == np.arange(self.num_classes)


def run_probe(
    features: Features, target: Labels, permutations: int = PERMUTATIONS
) -> ProbeResult | None:
    """Probes the labels; returns None if the features are the same for every file."""
    matrix = design_matrix(features, len(target.labels))
    if not matrix.names:
        return None
    rng = np.random.default_rng(target.seed)
    # Folds are drawn without regard to the labels, because the permutations exchange these.
    num_groups = int(target.groups.max()) + 1
    folds = (rng.permutation(num_groups) % min(FOLDS, num_groups))[target.groups]
    model = FoldRidge(matrix.columns, folds)
    truth = target.indicators(target.labels).astype(np.float32)
    predictions, scores = model.predict(truth)
    score = _score(predictions, scores, target, np.full(len(truth), True), rng)
    markers = collect_markers(features, matrix)
    exact = exact_test(markers, target.labels, target.groups, target.num_classes)
    enough = STAGES[0] if exact.p_value < _DECISIVE else permutations
    p_value, drawn = _permutation_test(target, model, scores, min(enough, permutations), rng)
    p_value = min(1.0, 2 * min(p_value, exact.p_value))
    test, inside = None, target.is_test
    if len(np.unique(target.labels[inside])) == target.num_classes and not inside.all():
        fit = RidgeFit(matrix.columns[~inside])
        scores = fit.predict(truth[~inside], matrix.columns[inside])
        test = _score(scores + truth[~inside].mean(axis=0), scores, target, inside, rng)
    shown = tuple(_marker(markers, index, target) for index in exact.order[:NUM_MARKERS])
    return ProbeResult(score, test, p_value, exact.p_value, drawn, shown)


def _score(
    predictions: np.ndarray,
    scores: np.ndarray,
    target: Labels,
    files: np.ndarray,
    rng: np.random.Generator,
) -> Score:
    labels = target.labels[files]
    groups = np.unique(target.groups[files], return_inverse=True)[1]
    binary = target.num_classes == 2
    correct = (predictions[:, 0] > 0.5 if binary else predictions.argmax(axis=1)) == labels
    truth = target.indicators(labels)
    scores = np.round(scores.astype(float), 6)  # equal columns give equal scores
    return Score(
        n=len(labels),
        correct=int(correct.sum()),
        accuracy=float(correct.mean()),
        accuracy_interval=design_effect_interval(correct, groups),
        majority=float(np.bincount(labels).max() / len(labels)),
        auc=float(areas_under_curve(scores, truth)[0]),
        auc_interval=bounded_area_interval(scores, truth, groups, rng),
        design_effect=design_effect(correct, groups),
    )


def permuted_labels(
    labels: np.ndarray, groups: np.ndarray, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Permutes labels between whole groups, int [n, count].

    Groups of one label exchange their labels; a group with several labels permutes them within.
    """
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(groups[order]) > 0])
    ordered = labels[order]
    pure = np.minimum.reduceat(ordered, starts) == np.maximum.reduceat(ordered, starts)
    by_group = np.tile(ordered[starts, None], count)
    by_group[pure] = rng.permuted(by_group[pure], axis=0)
    permuted = by_group[groups]
    for group in np.flatnonzero(~pure):
        members = np.flatnonzero(groups == group)
        permuted[members] = rng.permuted(np.tile(labels[members, None], count), axis=0)
    return permuted


def _permutation_test(
    target: Labels,
    model: FoldRidge,
    scores: np.ndarray,
    permutations: int,
    rng: np.random.Generator,
) -> tuple[float, int]:
    """The p-value of the correlation of scores and labels, and the number of permutations.

    Stops after 99 or 999 permutations if at least 10 of them reached the observed correlation.
    """
    truth = target.indicators(target.labels).astype(np.float32)
    observed = _correlations(scores[:, None], truth[:, None]) - 1e-6
    exceeding, drawn = 0, 0
    chunk = max(1, _MAX_CELLS // (len(truth) * truth.shape[1]))
    while drawn < permutations:
        goal = next((stage for stage in STAGES if drawn < stage), permutations)
        count = min(chunk, goal - drawn, permutations - drawn)
        labels = permuted_labels(target.labels, target.groups, count, rng)
        shuffled = target.indicators(labels).astype(np.float32)  # [n, count, k]
        _, outside = model.predict(shuffled.reshape(len(truth), -1))
        exceeding += int(
            np.sum(_correlations(outside.reshape(shuffled.shape), shuffled) >= observed)
        )
        drawn += count
        if drawn in STAGES and exceeding >= _ENOUGH_EXCEEDANCES:
            break
    return (exceeding + 1) / (drawn + 1), drawn


def _correlations(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean over k of the correlations of scores and truth, [n, permutations, k] each."""
    return (standardized(scores) * standardized(truth)).sum(axis=0).mean(axis=-1)


def _marker(markers: Markers, index: int, target: Labels) -> Marker:
    column = markers.column(index)
    shares = [float(column[target.labels == k].mean()) for k in range(target.num_classes)]
    return Marker(markers.names[index], tuple(shares), tuple(np.flatnonzero(column).tolist()))
