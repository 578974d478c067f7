"""Thousands of damaged files: no crash, no exception, no effect on good images."""

import numpy as np
import pytest
import tensorflow as tf

from covid_lm.layers.image_input import ImageInput
from tests.layers import encoded_images

BATCH = 64
GOOD_IN_BATCH = 9


@pytest.mark.parametrize(
    "count", [500, pytest.param(20_000, marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_damaged_files_never_affect_other_images(count):
    layer = ImageInput()
    originals = [
        *encoded_images.good_images(40, 50).values(),
        *encoded_images.good_images(9, 7).values(),
    ]
    good = list(encoded_images.good_images(30, 20, seed=3).values())
    alone = layer(tf.constant(good))["pixels"].numpy()
    damaged = encoded_images.mutations(originals, count, seed=count)
    generator = np.random.default_rng(count)
    accepted = 0
    for start in range(0, count, BATCH - GOOD_IN_BATCH):
        batch = damaged[start : start + BATCH - GOOD_IN_BATCH]
        neighbours = generator.choice(len(good), GOOD_IN_BATCH, replace=False)
        order = generator.permutation(len(batch) + GOOD_IN_BATCH)
        files = batch + [good[i] for i in neighbours]
        output = layer(tf.constant([files[i] for i in order]))
        pixels, valid = (output[key].numpy()[np.argsort(order)] for key in ("pixels", "valid"))
        assert valid[len(batch) :].all()
        np.testing.assert_array_equal(pixels[len(batch) :], alone[neighbours])
        assert not pixels[~valid].any()
        accepted += np.count_nonzero(valid[: len(batch)])
    # Some damaged files remain valid, and some do not.
    assert 0.02 * count < accepted < 0.5 * count
