"""95% intervals of accuracy and area under the ROC curve.

The images of one patient are no independent ones. Where patients are known, the bootstrap draws
whole patients (the cluster bootstrap, Field and Welsh 2007); its interval is the percentile one,
from the 2.5th to the 97.5th percentile of 2,000 seeded resamples.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import stats
from statsmodels.stats import contingency_tables

RESAMPLES = 2000
PERCENTILES = (2.5, 97.5)
PATIENT_BOOTSTRAP, IMAGE_BOOTSTRAP = "patient bootstrap", "image bootstrap"
WILSON, PATIENT_WILSON = "wilson", "wilson over patients"
EXACT = "clopper-pearson"
# Images x classes x resamples; 10,000 images of 10 classes are 200 million, some seconds.
MAX_AREA_CELLS = 250_000_000
_CHUNK_CELLS = 2_000_000


def patient_groups(patients: Sequence[str | None] | None) -> np.ndarray | None:
    """Each image's patient as a number from 0, int [n]; None unless all are known, and of two."""
    if patients is None or any(patient is None for patient in patients):
        return None
    names, groups = np.unique(np.array(patients, str), return_inverse=True)
    return groups if len(names) > 1 else None


def wilson_interval(correct: int, n: int) -> list[float] | None:
    """Wilson's score interval of `correct` in `n`; None of nothing."""
    if n == 0:
        return None
    interval = stats.binomtest(correct, n).proportion_ci(0.95, method="wilson")
    return [float(interval.low), float(interval.high)]


def accuracy_interval(
    correct: np.ndarray, groups: np.ndarray | None, seed: int = 0
) -> tuple[list[float] | None, str | None]:
    """The accuracy's interval and its method.

    Over patients where they are known, else Wilson's over images. A bootstrap of images that are
    all correct, or all wrong, has no spread to draw from: there it is Wilson's interval with
    patients for images.

    Args:
        correct: bool [n].
        groups: of `patient_groups`.
        seed: of the resamples.
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
    return _percentile_interval(np.concatenate(samples)), PATIENT_BOOTSTRAP


def area_interval(
    scores: np.ndarray, indicators: np.ndarray, groups: np.ndarray | None, seed: int = 0
) -> tuple[list[float] | None, str | None]:
    """The interval of the (mean) area under the ROC curve and its method.

    A bootstrap over patients where they are known, else over images. Resamples without a class
    have no area and are left out. Where every resample is ranked perfectly, or perfectly wrong,
    the bound is that of m successes in m trials (Clopper and Pearson), m being the number of
    patients, else images, of the smallest class or its rest.

    Args:
        scores: float [n, k], a column a class; one column for two classes.
        indicators: bool [n, k], whether an image is of that class.
        groups: int [n], equal for images of one patient; None where patients are unknown.
        seed: of the resamples.

    Returns:
        None and None where no class is told from another, fewer than two patients are there, or
        images x classes x resamples exceed 250 million (10,000 images of 100 classes).
    """
    if indicators.all(axis=0).any() or not indicators.any(axis=0).all():
        return None, None
    if indicators.size * RESAMPLES > MAX_AREA_CELLS:
        return None, None
    method = IMAGE_BOOTSTRAP if groups is None else PATIENT_BOOTSTRAP
    groups = np.arange(len(scores)) if groups is None else _renumbered(groups)
    num_groups = int(groups.max()) + 1
    if num_groups < 2:
        return None, None
    samples = np.concatenate(
        [
            areas_under_curve(scores, indicators, counts[groups])
            for counts in resampled_counts(num_groups, len(scores), seed)
        ]
    )
    samples = samples[np.isfinite(samples)]
    if len(samples) == 0:
        return None, None
    if samples.min() == samples.max() and samples[0] in (0.0, 1.0):
        smallest = min(len(np.unique(groups[side])) for side in (*indicators.T, *~indicators.T))
        bound = 0.025 ** (1 / smallest)
        return ([bound, 1.0] if samples[0] == 1 else [0.0, 1 - bound]), EXACT
    return _percentile_interval(samples), method


def resampled_counts(
    num_groups: int, num_images: int | None = None, seed: int = 0
) -> Iterator[np.ndarray]:
    """How often each group is drawn when as many as there are are drawn with replacement.

    In chunks, so that memory does not grow with the number of resamples.

    Args:
        num_images: the rows that the caller makes of a chunk; `num_groups` unless given.

    Yields:
        float [num_groups, resamples of this chunk], 2,000 resamples in all.
    """
    rng = np.random.default_rng(seed)
    chunk = max(1, _CHUNK_CELLS // max(num_groups, num_images or 0))
    for start in range(0, RESAMPLES, chunk):
        size = min(chunk, RESAMPLES - start)
        drawn = rng.integers(num_groups, size=(size, num_groups))
        cells = drawn * size + np.arange(size)[:, None]
        counts = np.bincount(cells.ravel(), minlength=num_groups * size)
        yield counts.reshape(num_groups, size).astype(float)


def _renumbered(groups: np.ndarray) -> np.ndarray:
    return np.unique(groups, return_inverse=True)[1]


def _percentile_interval(samples: np.ndarray) -> list[float]:
    return [float(bound) for bound in np.percentile(samples, PERCENTILES)]


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


def mcnemar(correct_a: np.ndarray | Sequence[bool], correct_b: np.ndarray | Sequence[bool]) -> dict:
    """McNemar's exact test of two models being right equally often.

    Only images that one of them alone gets right tell them apart: under the hypothesis each is a
    toss of a coin. Images of one patient count as independent, which makes p too small.

    Args:
        correct_a: bool [n], whether model a is right about an image.
        correct_b: the same of model b, image by image.

    Returns:
        `n`, `both_correct`, `only_a_correct`, `only_b_correct`, `neither_correct` and the
        two-sided `p_value`, 1.0 where no image tells the models apart.

    Raises:
        ValueError: not the same number of images.
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
