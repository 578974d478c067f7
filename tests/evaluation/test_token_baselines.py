import math

import numpy as np
import pytest

from covid_lm.evaluation.token_baselines import (
    TrivialPredictors,
    count_pairs,
    fit_trivial_predictors,
    trivial_figures,
)

WORD_IDS = np.array([7, 8, 9])
TOKENS = {  # 1 [CLS], 2 [SEP], 0 [PAD]
    "token_ids": np.array([[1, 7, 7, 9, 2, 8, 8, 2], [1, 9, 7, 7, 2, 8, 2, 0]], np.int32),
    "segment_ids": np.array([[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1, 1, 0]], np.int32),
}


def test_pairs_are_counted_by_kind_neighbour_and_word():
    expected = np.zeros([2, 4, 3], np.int64)
    expected[0, 3, 0] = expected[0, 3, 2] = 1  # [CLS] 7, [CLS] 9
    expected[0, 0, 0] = 2  # 7 7, in both
    expected[0, 0, 2] = expected[0, 2, 0] = 1  # 7 9, 9 7
    expected[1, 3, 1] = 2  # [SEP] 8, in both
    expected[1, 1, 1] = 1  # 8 8
    np.testing.assert_array_equal(count_pairs(TOKENS, WORD_IDS), expected)


def test_figures_of_known_predictors():
    predictors = TrivialPredictors(unigram=np.array([0.5, 0.25, 0.25]), copy_weight=0.6)
    figures = predictors.metrics(count_pairs(TOKENS, WORD_IDS))
    # Words: 7 four times, 9 twice, 8 three times.
    unigram_loss = -(4 * math.log(0.5) + 5 * math.log(0.25)) / 9
    assert figures["unigram"]["loss"] == pytest.approx(unigram_loss)
    assert figures["unigram"]["perplexity"] == pytest.approx(math.exp(unigram_loss))
    accuracies = [figures["unigram"][key] for key in ("accuracy", "image_accuracy")]
    assert accuracies == pytest.approx([4 / 9, 4 / 6])
    assert figures["unigram"]["name_accuracy"] == 0
    copy_loss = -(
        (math.log(0.5) + 3 * math.log(0.25))  # no word to the left: the unigram alone
        + 2 * math.log(0.6 + 0.4 * 0.5)  # 7 7
        + math.log(0.6 + 0.4 * 0.25)  # 8 8
        + math.log(0.4 * 0.25)  # 7 9
        + math.log(0.4 * 0.5)  # 9 7
    )
    assert figures["copy_left"]["loss"] == pytest.approx(copy_loss / 9)
    # Right: 7 after [CLS] as the most frequent word, twice 7 7, once 8 8.
    assert figures["copy_left"]["accuracy"] == pytest.approx(4 / 9)
    assert figures["copy_left"]["image_accuracy"] == pytest.approx(3 / 6)
    assert figures["copy_left"]["name_accuracy"] == pytest.approx(1 / 3)


def test_the_fit_is_the_maximum_of_the_likelihood():
    pairs = count_pairs(TOKENS, WORD_IDS)
    predictors = fit_trivial_predictors(pairs)
    np.testing.assert_allclose(predictors.unigram, np.array([5, 4, 3]) / 12)

    def loss(weight):
        return TrivialPredictors(predictors.unigram, weight).metrics(pairs)["copy_left"]["loss"]

    best = min(np.linspace(0.001, 0.999, 999), key=loss)
    assert predictors.copy_weight == pytest.approx(best, abs=2e-3)
    assert 0.1 < best < 0.9


def test_probabilities_of_the_copy_sum_to_one():
    predictors = TrivialPredictors(unigram=np.array([0.5, 0.3, 0.2]), copy_weight=0.7)
    for left in range(4):
        total = 0.0
        for word in range(3):
            pairs = np.zeros([2, 4, 3], np.int64)
            pairs[0, left, word] = 1
            total += math.exp(-predictors.metrics(pairs)["copy_left"]["loss"])
        assert total == pytest.approx(1)


def test_validation_is_scored_with_what_training_gave():
    validation = {
        "token_ids": np.array([[1, 9, 9, 2]], np.int32),
        "segment_ids": np.zeros([1, 4], np.int32),
    }
    figures = trivial_figures({"train": TOKENS, "val": validation}, WORD_IDS)
    assert figures["val"]["unigram"]["loss"] == pytest.approx(-math.log(3 / 12))
    assert figures["val"]["unigram"]["accuracy"] == 0
    assert figures["val"]["copy_left"]["accuracy"] == pytest.approx(1 / 2)
    assert figures["val"]["copy_left"]["name_accuracy"] is None
