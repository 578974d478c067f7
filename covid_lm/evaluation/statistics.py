"""Confidence intervals and tests in which the images of one patient are not independent.

Where patients are known, a bootstrap draws whole patients (the cluster bootstrap, Field and Welsh
2007). Its interval goes from the 2.5th to the 97.5th percentile of seeded resamples. `groups` is
always int [n], an image's patient or other group of dependent images, as `patient_groups` numbers
them.

An audit reports an interval for each of its many probes. It uses `design_effect_interval`, which
is a formula, and `bounded_area_interval`, which takes fewer resamples and remains valid near 1,
where a bootstrap has too little spread.
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
# Images x classes x resamples; 10,000 images of 10 classes are 200 million, some seconds.
MAX_AREA_CELLS = 250_000_000
_CHUNK_CELLS = 2_000_000


def wilson_interval(correct: float, n: float) -> list[float] | None:
    """Wilson's 95% score interval of `correct` in `n`, integers or not; None if n is 0."""
    if n == 0:
        return None
    bounds = proportion_confint(correct, n, method="wilson")
    return np.clip(bounds, 0, 1).tolist()


def accuracy_interval(
    correct: np.ndarray, groups: np.ndarray | None, seed: int = 0
) -> tuple[list[float] | None, str | None]:
    """The accuracy's 95% interval and its method.

    A bootstrap over groups; without groups Wilson's interval over images. If all images are
    correct, or all wrong, every resample is the same: then it is Wilson's interval over groups.

    Args:
        correct: bool [n].
        groups: int [n], 0 to the number of groups - 1, or None.
        seed: of the resamples.

    Returns:
        None and None for no images.
    """
    if len(correct) == 0:
        return None, None
    if groups is None:
        return wilson_interval(int(correct.sum()), len(correct)), WILSON
    hits, sizes = np.bincount(groups, weights=correct), np.bincount(groups)
    if correct.all() or not correct.any():
        num_groups = len(sizes)
        return wilson_interval(num_groups if correct.all() else 0, num_groups), PATIENT_WILSON
    samples = [
        (hits @ counts) / (sizes @ counts) for counts in resampled_counts(len(sizes), seed=seed)
    ]
    return np.percentile(np.concatenate(samples), PERCENTILES).tolist(), PATIENT_BOOTSTRAP


def area_interval(
    scores: np.ndarray, indicators: np.ndarray, groups: np.ndarray | None, seed: int = 0
) -> tuple[list[float] | None, str | None]:
    """The 95% interval of the (mean) area under the ROC curve, and its method.

    A bootstrap over groups, or over images without groups. If every resample is ranked perfectly,
    or perfectly wrong, the bound is that of m successes in m trials (Clopper and Pearson), m being
    the number of groups of the smallest class or its rest.

    Args:
        scores: float [n, k], one column per class; one column for two classes.
        indicators: bool [n, k], true if an image belongs to that class.
        groups: int [n], or None.
        seed: of the resamples.

    Returns:
        None and None if a class has no image or all of them, if there are fewer than two groups,
        or if images x classes x resamples exceed 250 million (10,000 images of 100 classes).
    """
    if indicators.all(axis=0).any() or not indicators.any(axis=0).all():
        return None, None
    if indicators.size * RESAMPLES > MAX_AREA_CELLS:
        return None, None
    method = IMAGE_BOOTSTRAP if groups is None else PATIENT_BOOTSTRAP
    groups = np.arange(len(scores)) if groups is None else groups
    if len(np.unique(groups)) < 2:
        return None, None
    samples = _resampled_areas(scores, indicators, groups, RESAMPLES, seed)
    if len(samples) == 0:
        return None, None
    if samples.min() == samples.max() and samples[0] in (0.0, 1.0):
        bound = _perfect_bound(np.hstack([indicators, ~indicators]), groups)
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

    A bootstrap over groups whose lower bound is at most that of m successes in m trials (Clopper
    and Pearson), m being the number of groups of the smallest class.

    Args:
        scores, indicators, groups: as for `area_interval`; every class has an image.
        seed: of the resamples, or a generator to draw them from.
    """
    samples = _resampled_areas(scores, indicators, groups, resamples, seed)
    low, high = np.percentile(samples, PERCENTILES)
    single = indicators.shape[1] == 1
    sides = np.hstack([indicators, ~indicators]) if single else indicators
    return min(float(low), _perfect_bound(sides, groups)), float(high)


def _perfect_bound(sides: np.ndarray, groups: np.ndarray) -> float:
    """Clopper and Pearson's lower bound of m successes in m trials.

    Args:
        sides: bool [n, sets]; m is the smallest number of groups that a set of images has.
    """
    smallest = min(len(np.unique(groups[side])) for side in sides.T)
    return 0.025 ** (1 / max(smallest, 1))


def design_effect(correct: np.ndarray, groups: np.ndarray) -> float:
    """Variance of the accuracy when whole groups are drawn, relative to single images; at least 1.

    1.0 if all images are correct, or all wrong.
    """
    residuals = correct - correct.mean()
    single = np.sum(residuals**2)
    if single == 0:
        return 1.0
    sums = np.bincount(groups, weights=residuals)
    return max(1.0, float(np.sum(sums**2) / single))


def design_effect_interval(correct: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Wilson's 95% interval of the accuracy at the effective number of images.

    That number is n divided by the design effect, or the number of groups if all images are
    correct, or all wrong.

    Args:
        correct: bool [n], n at least 1.
        groups: int [n].
    """
    share = float(correct.mean())
    effective = len(correct) / design_effect(correct, groups)
    if share in (0.0, 1.0):
        effective = float(len(np.unique(groups)))
    bounds = wilson_interval(share * effective, effective)
    assert bounds is not None
    return bounds[0], bounds[1]


def resampled_counts(
    num_groups: int,
    num_images: int | None = None,
    seed: int | np.random.Generator = 0,
    resamples: int = RESAMPLES,
) -> Iterator[np.ndarray]:
    """Count how often each group is drawn, with `num_groups` draws with replacement.

    Comes in chunks, so that memory does not grow with the number of resamples.

    Args:
        num_images: rows that the caller makes of a chunk; `num_groups` by default.
        seed: of the draws, or a generator to draw from.
        resamples: columns of all chunks together.

    Yields:
        float [num_groups, resamples of this chunk].
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
    numbers = np.unique(groups, return_inverse=True)[1]
    chunks = resampled_counts(int(numbers.max()) + 1, len(scores), seed, resamples)
    areas = [areas_under_curve(scores, indicators, counts[numbers]) for counts in chunks]
    samples = np.concatenate(areas)
    return samples[np.isfinite(samples)]


def areas_under_curve(
    scores: np.ndarray, indicators: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """Area under the ROC curve, averaged over the classes, for each weighting of the images.

    Args:
        scores: float [n, k], one column per class; one column for two classes.
        indicators: bool [n, k], true if an image belongs to that class.
        weights: [n, replicates]; one replicate of ones by default.

    Returns:
        float [replicates]; NaN where a replicate has no image of a class, or no other image.
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


def mcnemar(correct_a: np.ndarray | Sequence[bool], correct_b: np.ndarray | Sequence[bool]) -> dict:
    """McNemar's exact test of the hypothesis that two models are equally accurate.

    Only the images that exactly one model classifies correctly count; under the hypothesis each
    is the toss of a coin. Images of one patient are taken as independent, so p is too small.

    Args:
        correct_a: bool [n], true where model a is correct.
        correct_b: the same for model b, on the same images in the same order.

    Returns:
        `n`, `both_correct`, `only_a_correct`, `only_b_correct`, `neither_correct` and the
        two-sided `p_value`, 1.0 where no image distinguishes the models.

    Raises:
        ValueError: the numbers of images differ.
    """
    correct_a, correct_b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    if correct_a.shape != correct_b.shape or correct_a.ndim != 1:
        raise ValueError(f"shapes {correct_a.shape} and {correct_b.shape}: two of the same [n]")
    both, only_a = int(np.sum(correct_a & correct_b)), int(np.sum(correct_a & ~correct_b))
    only_b, neither = int(np.sum(~correct_a & correct_b)), int(np.sum(~correct_a & ~correct_b))
    test = contingency_tables.mcnemar([[both, only_a], [only_b, neither]], exact=True)
    return {
        "n": len(correct_a),
        "both_correct": both,
        "only_a_correct": only_a,
        "only_b_correct": only_b,
        "neither_correct": neither,
        "p_value": float(test.pvalue),
    }
