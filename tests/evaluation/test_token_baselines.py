"""The unigram on sequences that can be counted by hand."""

import math

import numpy as np
import pytest

from covid_lm.evaluation.token_baselines import count_words, figures, trivial_figures

WORD_IDS = np.array([7, 8, 9])
TOKENS = {  # 1 [CLS], 2 [SEP], 0 [PAD]
    "token_ids": np.array([[1, 7, 7, 9, 2, 8, 8, 2], [1, 9, 7, 7, 2, 8, 2, 0]], np.int32),
    "segment_ids": np.array([[0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1, 1, 0]], np.int32),
}


def test_words_are_counted_in_image_and_name():
    assert count_words(TOKENS, WORD_IDS).tolist() == [[4, 0, 2], [0, 3, 0]]
    assert count_words(TOKENS, np.array([8, 20])).tolist() == [[0, 0], [3, 0]]


def test_figures_of_known_probabilities():
    unigram = figures(count_words(TOKENS, WORD_IDS), np.array([0.5, 0.25, 0.25]))
    loss = -(4 * math.log(0.5) + 5 * math.log(0.25)) / 9
    assert unigram["loss"] == pytest.approx(loss)
    assert unigram["perplexity"] == pytest.approx(math.exp(loss))
    assert unigram["accuracy"] == pytest.approx(4 / 9)
    assert unigram["image_accuracy"] == pytest.approx(4 / 6)
    assert unigram["name_accuracy"] == 0


def test_validation_is_scored_with_the_frequencies_of_training():
    validation = {
        "token_ids": np.array([[1, 9, 9, 2]], np.int32),
        "segment_ids": np.zeros([1, 4], np.int32),
    }
    counts = {"train": count_words(TOKENS, WORD_IDS), "val": count_words(validation, WORD_IDS)}
    unigram = trivial_figures(counts)["val"]["unigram"]
    # Counts plus one: 5, 4 and 3 of 12.
    assert unigram["loss"] == pytest.approx(-math.log(3 / 12))
    assert unigram["accuracy"] == 0
    assert unigram["name_accuracy"] is None
