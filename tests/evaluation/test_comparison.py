"""McNemar's test against the binomial test of the discordant pairs."""

import numpy as np
import pytest
from scipy import stats

from covid_lm.evaluation.statistics import mcnemar


@pytest.mark.parametrize("counts", [(5, 9, 2, 3), (0, 1, 0, 0), (180, 12, 4, 7), (3, 4, 4, 0)])
def test_discordant_pairs_follow_the_binomial_test(counts):
    both, only_a, only_b, neither = counts
    correct_a = np.repeat([True, True, False, False], counts)
    correct_b = np.repeat([True, False, True, False], counts)
    result = mcnemar(correct_a, correct_b)
    assert result == {
        "n": sum(counts),
        "both_correct": both,
        "only_a_correct": only_a,
        "only_b_correct": only_b,
        "neither_correct": neither,
        "p_value": pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue),
    }
    assert mcnemar(correct_b, correct_a)["p_value"] == result["p_value"]


def test_a_small_case_by_hand():
    # 6 against 0 of 6: two sides of 2 ** -6
    assert mcnemar([True] * 8, [True] * 2 + [False] * 6)["p_value"] == pytest.approx(2 / 64)


@pytest.mark.parametrize("answers", [[True, False, True], []])
def test_models_that_never_differ(answers):
    assert mcnemar(answers, answers)["p_value"] == 1


def test_different_numbers_of_images_are_refused():
    with pytest.raises(ValueError, match=r"^shapes \(2,\) and \(3,\): two of the same \[n\]$"):
        mcnemar([True, False], [True, False, True])
