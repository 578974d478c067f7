"""Masking of patches: which bytes are hidden, and the values to predict."""

import numpy as np
import pytest
import tensorflow as tf

from covid_lm.backbones.vocabulary import built_in_vocabulary
from covid_lm.layers.patch_masking import PatchMasking
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.protocols import layout_arguments, layout_trim

VOCABULARY = built_in_vocabulary()
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def tokens() -> dict:
    layout = {**layout_arguments("patches32x8rgb"), **layout_trim("patches32x8rgb", "fixed")}
    return Preprocessor(VOCABULARY, "fixed", **layout).tokenize(tf.constant(PIXELS), tf.fill(5, ""))


def test_hidden_bytes_and_their_values(tokens):
    masking = PatchMasking(16, VOCABULARY, rate=0.6)
    inputs, values = masking(tokens, tf.constant([1, 2]))
    positions, hidden_ids = inputs["masked_positions"].numpy(), inputs["token_ids"].numpy()
    assert positions.shape == (5, 10)  # 0.6 * 16, rounded
    token_ids = tokens["token_ids"].numpy()
    for row in range(5):
        assert len(set(positions[row])) == 10
        assert set(positions[row]) <= set(range(1, 17))
        rest = np.setdiff1d(np.arange(token_ids.shape[1]), positions[row])
        np.testing.assert_array_equal(hidden_ids[row, rest], token_ids[row, rest])
        assert np.all(hidden_ids[row, positions[row]] == VOCABULARY.index("[MASK]"))
        for place, patch in enumerate(positions[row] - 1):
            top, left = 8 * (patch // 4), 8 * (patch % 4)
            pixels = PIXELS[row, top : top + 8, left : left + 8].transpose(2, 0, 1).ravel()
            np.testing.assert_allclose(values[row, place], pixels / 255, rtol=1e-6)
    for name in ("segment_ids", "padding_mask"):
        np.testing.assert_array_equal(inputs[name], tokens[name])


def test_masks_follow_from_the_seed(tokens):
    masking = PatchMasking(16, VOCABULARY, rate=0.5)
    positions = [
        masking(tokens, tf.constant(seed))[0]["masked_positions"].numpy()
        for seed in ([0, 1], [0, 1], [0, 2])
    ]
    np.testing.assert_array_equal(positions[0], positions[1])
    assert (np.sort(positions[0]) != np.sort(positions[2])).any(axis=1).all()
    copy = PatchMasking.from_config(masking.get_config())
    again = copy(tokens, tf.constant([0, 1]))[0]["masked_positions"]
    np.testing.assert_array_equal(again, positions[0])
