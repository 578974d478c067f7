"""Confidence intervals and tests in which the images of one patient are not independent.

Where patients are known, a bootstrap draws whole patients (the cluster bootstrap, Field and Welsh
2007). Its interval goes from the 2.5th to the 97.5th percentile of seeded resamples. In every
function `groups` is int [n], an image's patient or other group of dependent images, `scores` is
float [n, k] with one column per class (one column for two classes), and `indicators`, bool [n, k],
is true if an image belongs to that class.

An audit reports an interval for each of its many probes: `design_effect_interval`, which is a
formula, and `bounded_area_interval`, which takes fewer resamples.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from statsmodels.stats import contingency_tables
from statsmodels.stats.proportion import proportion_confint

RESAMPLES = 2000
PERCENTILES = (2.5, 97.5)
PATIENT_BOOTSTRAP, IMAGE_BOOTSTRAP = "patient bootstrap", "image bootstrap"
WILSON, PATIENT_WILSON = "wilson", "wilson over patients"
EXACT = "clopper-pearson"
MAX_AREA_CELLS = 250_000_000  # images x classes x resamples: some seconds
_CHUNK_CELLS = 2_000_000


def wilson_interval(correct: float, n: float) -> list[float] | None:
    """Wilson's 95% score interval of `correct` in `n`, integers or not; None if n is 0."""
    if n == 0:
        return None
    return np.clip(proportion_confint(correct, n, method="wilson"), 0, 1).tolist()


def accuracy_interval(
    correct: np.ndarray, groups: np.ndarray | None
) -> tuple[list[float] | None, str | None]:
    """The 95% interval of the accuracy of `correct`, bool [n], and its method.

    A bootstrap over groups (0 to their number - 1); without groups Wilson's interval over images.
    If all images are correct, or all wrong, every resample is the same: then it is Wilson's
    interval over groups. None and None for no images.
    """
    if len(correct) == 0:
        return None, None
    if groups is None:
        return wilson_interval(int(correct.sum()), len(correct)), WILSON
    hits, sizes = np.bincount(groups, weights=correct), np.bincount(groups)
    if correct.all() or not correct.any():
        return wilson_interval(len(sizes) * correct[0], len(sizes)), PATIENT_WILSON
    samples = [(hits @ counts) / (sizes @ counts) for counts in resampled_counts(len(sizes))]
    return np.percentile(np.concatenate(samples), PERCENTILES).tolist(), PATIENT_BOOTSTRAP


def area_interval(
    scores: np.ndarray, indicators: np.ndarray, groups: np.ndarray | None, seed: int = 0
) -> tuple[list[float] | None, str | None]:
    """The 95% interval of the (mean) area under the ROC curve, and its method.

    A bootstrap over groups, or over images without groups. If every resample is ranked perfectly,
    or perfectly wrong, it is that of m successes in m trials (`_perfect_bound`).

    Returns:
        None and None if a class has no image or all of them, if no resample has every class (a
        single group), or for more than `MAX_AREA_CELLS` (10,000 images of 100 classes).
    """
    if indicators.all(axis=0).any() or not indicators.any(axis=0).all():
        return None, None
    method = IMAGE_BOOTSTRAP if groups is None else PATIENT_BOOTSTRAP
    groups = np.arange(len(scores)) if groups is None else groups
    if indicators.size * RESAMPLES > MAX_AREA_CELLS or len(np.unique(groups)) < 2:
        return None, None
    samples = _resampled_areas(scores, indicators, groups, RESAMPLES, seed)
    if len(samples) == 0:
        return None, None
    if samples.min() == samples.max() and samples[0] in (0.0, 1.0):
        bound = _perfect_bound(indicators, groups)
        return ([bound, 1.0] if samples[0] == 1 else [0.0, 1 - bound]), EXACT
    return np.percentile(samples, PERCENTILES).tolist(), method


def bounded_area_interval(
    scores: np.ndarray,
    indicators: np.ndarray,
    groups: np.ndarray,
    seed: int | np.random.Generator = 0,
    resamples: int = 500,
) -> tuple[float, float]:
    """The 95% interval of the area under the ROC curve that is never too narrow near 1.

    A bootstrap over groups, its lower bound at most that of m successes in m trials
    (`_perfect_bound`): near 1 a bootstrap has too little spread. Every class must have an image.
    """
    samples = _resampled_areas(scores, indicators, groups, resamples, seed)
    low, high = np.percentile(samples, PERCENTILES)
    return min(float(low), _perfect_bound(indicators, groups)), float(high)


def _perfect_bound(indicators: np.ndarray, groups: np.ndarray) -> float:
    """Clopper and Pearson's lower bound of m successes in m trials.

    m is the number of groups of the smallest class, or of the rest of the largest.
    """
    sides = np.hstack([indicators, ~indicators])
    return 0.025 ** (1 / min(len(np.unique(groups[side])) for side in sides.T))


def design_effect(correct: np.ndarray, groups: np.ndarray) -> float:
    """Variance of the accuracy when whole groups are drawn, relative to single images; at least 1.

    1.0 if all images are correct, or all wrong.
    """
    residuals = correct - correct.mean()
    sums, single = np.bincount(groups, weights=residuals), np.sum(residuals**2)
    return max(1.0, float(np.sum(sums**2) / single)) if single else 1.0


def design_effect_interval(correct: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Wilson's 95% interval of the accuracy at the effective number of images.

    That number is n (at least 1) divided by the design effect, or the number of groups if all
    images are correct, or all wrong.
    """
    share = float(correct.mean())
    effective = len(correct) / design_effect(correct, groups)
    if share in (0.0, 1.0):
        effective = len(np.unique(groups))
    low, high = proportion_confint(share * effective, effective, method="wilson")
    return max(float(low), 0.0), min(float(high), 1.0)


def resampled_counts(
    num_groups: int,
    num_images: int | None = None,
    seed: int | np.random.Generator = 0,
    resamples: int = RESAMPLES,
) -> Iterator[np.ndarray]:
    """Count how often each group is drawn, with `num_groups` draws with replacement.

    Args:
        num_images: rows that the caller makes of a chunk; `num_groups` by default.
        seed: of the draws, or a generator to draw from.
        resamples: of all chunks together.

    Yields:
        float [num_groups, resamples of this chunk]: memory doesn't grow with all resamples.
    """
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_CELLS // max(num_groups, num_images or 0))
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        drawn = rng.integers(num_groups, size=(size, num_groups))
        cells = drawn * size + np.arange(size)[:, None]
        counts = np.bincount(cells.ravel(), minlength=num_groups * size)
        yield counts.reshape(num_groups, size).astype(float)


def _resampled_areas(
    scores: np.ndarray,
    indicators: np.ndarray,
    groups: np.ndarray,
    resamples: int,
    seed: int | np.random.Generator,
) -> np.ndarray:
    """Areas under the ROC curve of the resamples that have every class, float [<= resamples]."""
    names, numbers = np.unique(groups, return_inverse=True)
    chunks = resampled_counts(len(names), len(scores), seed, resamples)
    areas = [areas_under_curve(scores, indicators, counts[numbers]) for counts in chunks]
    samples = np.concatenate(areas)
    return samples[np.isfinite(samples)]


def areas_under_curve(
    scores: np.ndarray, indicators: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Area under the ROC curve, averaged over the classes, for each weighting of the images.

    Args:
        weights: [n, replicates]; one replicate of ones by default.

    Returns:
        float [replicates]; NaN where a replicate has no image of a class, or no other image.
    """
    if weights is None:
        weights = np.ones((len(scores), 1))
    classes = zip(scores.T, indicators.T, strict=True)
    return np.mean([_weighted_area(*column, weights) for column in classes], axis=0)


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


def mcnemar(correct_a: np.ndarray | Sequence[bool], correct_b: np.ndarray | Sequence[bool]) -> dict:
    """McNemar's exact test of the hypothesis that two models are equally accurate.

    Images of one patient are taken as independent, so p is too small.

    Args:
        correct_a, correct_b: bool [n], true where the model is correct, for the same images.

    Returns:
        `n`, `both_correct`, `only_a_correct`, `only_b_correct`, `neither_correct` and the
        two-sided `p_value`, 1.0 where no image distinguishes the models.

    Raises:
        ValueError: the numbers of images differ.
    """
    a, b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    if a.shape != b.shape:
        raise ValueError(f"shapes {a.shape} and {b.shape}: two of the same [n]")
    counts = {
        "both_correct": int(np.sum(a & b)),
        "only_a_correct": int(np.sum(a & ~b)),
        "only_b_correct": int(np.sum(~a & b)),
        "neither_correct": int(np.sum(~a & ~b)),
    }
    test = contingency_tables.mcnemar(np.reshape(list(counts.values()), (2, 2)), exact=True)
    return {"n": len(a), **counts, "p_value": float(test.pvalue)}
