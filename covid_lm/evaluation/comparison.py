"""Two models on the same images."""

from collections.abc import Sequence

import numpy as np
from statsmodels.stats import contingency_tables


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
