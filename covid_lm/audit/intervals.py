"""Intervals where the images of one patient are not independent.

Not those of `evaluation.intervals`: an audit has an interval for each of its probes, so these take
a formula or fewer resamples, and they hold near 1, where a bootstrap has too little spread.
"""

import numpy as np
from statsmodels.stats.proportion import proportion_confint

from covid_lm.evaluation.statistics import areas_under_curve

LEVEL = 0.95


def bootstrap_weights(groups: np.ndarray, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """How often each file is drawn when whole groups are drawn with replacement.

    Args:
        groups: int [n], 0 to the number of groups - 1.

    Returns:
        float32 [n, replicates].
    """
    num_groups = int(groups.max()) + 1
    draws = rng.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=replicates)
    return draws.T[groups].astype(np.float32)


def bounded_area_interval(
    scores: np.ndarray,
    indicators: np.ndarray,
    groups: np.ndarray,
    rng: np.random.Generator,
    replicates: int = 500,
) -> tuple[float, float]:
    """95% interval of the area: percentiles of a bootstrap over groups.

    Near 1 a bootstrap has too little spread to draw from. The lower bound is therefore never
    above that of m successes in m trials (Clopper and Pearson), m being the number of groups of
    the smallest class.
    """
    samples = areas_under_curve(scores, indicators, bootstrap_weights(groups, replicates, rng))
    low, high = np.nanpercentile(samples, (50 * (1 - LEVEL), 50 * (1 + LEVEL)))
    sides = [indicators[:, 0], ~indicators[:, 0]] if indicators.shape[1] == 1 else indicators.T
    smallest = min(len(np.unique(groups[side])) for side in sides)
    return min(float(low), ((1 - LEVEL) / 2) ** (1 / max(smallest, 1))), float(high)


def design_effect(correct: np.ndarray, groups: np.ndarray) -> float:
    """Variance of the accuracy with whole groups drawn, over that with single files drawn.

    1 where all are correct or none is, and never less.
    """
    residuals = correct - correct.mean()
    single = np.sum(residuals**2)
    if single == 0:
        return 1.0
    sums = np.bincount(groups, weights=residuals)
    return max(1.0, float(np.sum(sums**2) / single))


def design_effect_interval(correct: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """95% Wilson interval of the accuracy at the effective number of files.

    That is their number over the design effect, or the number of groups where no file or every
    file is correct.
    """
    share = float(correct.mean())
    if share in (0.0, 1.0):
        effective = float(len(np.unique(groups)))
    else:
        effective = len(correct) / design_effect(correct, groups)
    bounds = proportion_confint(share * effective, effective, 1 - LEVEL, method="wilson")
    low, high = np.clip(bounds, 0, 1).tolist()
    return low, high
