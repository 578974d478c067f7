"""Keras' operations with explicit seeds: equal to the Keras layers, and the same in every call."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from covid_lm.layers.random_operations import (
    ImageMixing,
    RandomOperations,
    StatelessSeeds,
    transformed,
)
from tests.conftest import random_picture

SEED = tf.constant([3, 4])
PICTURES = np.stack([random_picture(12, 10, seed) for seed in range(16)])
VALUES = tf.constant(PICTURES.astype(np.float32))
LABELS = np.arange(16, dtype=np.int32) % 5


def test_seeds_are_distinct_and_repeatable():
    seeds, others = StatelessSeeds(SEED), StatelessSeeds(SEED)
    first = [tuple(seeds.next().numpy()) for _ in range(10)]
    assert len(set(first)) == 10
    assert [tuple(others.next().numpy()) for _ in range(10)] == first


class OneSeed(keras.random.SeedGenerator):
    """The seeds that `StatelessSeeds` gives, computed in advance."""

    def __init__(self, seeds: list):
        self.seeds = iter(seeds)

    def next(self, ordered=True):
        return next(self.seeds)


def test_each_operation_is_what_its_keras_layer_does():
    operations = RandomOperations(0.5, 0.25)
    for operation in [*operations.operations, operations.erasing]:
        found = transformed(operation, VALUES, StatelessSeeds(SEED)).numpy()
        seeds = StatelessSeeds(SEED)
        layer = type(operation).from_config(operation.get_config())
        if hasattr(layer, "generator"):
            layer.generator = OneSeed([seeds.next() for _ in range(9)])
        np.testing.assert_array_equal(found, layer(VALUES, training=True))
        assert found.min() >= 0
        assert found.max() <= 255
        assert not np.array_equal(found, PICTURES)


def test_each_image_has_its_own_operations():
    """One operation of 10 on each of 600 equal images: all occur, the identity as often."""
    operations = RandomOperations(0.5, 0.0)
    operations.num_operations = 1
    images = tf.repeat(VALUES[:1], 600, axis=0)
    changed = operations(images, SEED).numpy()
    same = np.abs(changed - VALUES[0]).max(axis=(1, 2, 3)) == 0
    assert 30 <= same.sum() <= 90
    contrasted = transformed(operations.operations[0], VALUES[:1], StatelessSeeds(SEED))[0]
    equal = np.abs(changed - contrasted).max(axis=(1, 2, 3)) == 0
    assert 30 <= equal.sum() <= 90
    assert len({image.tobytes() for image in changed}) > 400


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [1, 16])  # of few images, most operations get none
def test_the_result_follows_from_the_seed(channels, count):
    operations = RandomOperations(0.5, 0.5)
    images = VALUES[:count, ..., :channels]
    mapped = tf.function(operations)
    first = mapped(images, SEED).numpy()
    for _ in range(2):
        np.testing.assert_array_equal(mapped(images, SEED), first)
    np.testing.assert_allclose(operations(images, SEED), first, atol=1e-3)
    assert first.shape == images.shape
    assert not np.array_equal(mapped(images, tf.constant([3, 5])), first)


def test_erasing_replaces_a_rectangle_of_a_share_of_the_images():
    images = tf.fill([400, 20, 20, 3], 100.0)
    erased = RandomOperations(0.0, 0.25)(images, SEED).numpy()
    changed = (erased != 100).any(axis=-1)
    assert 70 <= changed.any(axis=(1, 2)).sum() <= 130
    for mask in changed[changed.any(axis=(1, 2))]:
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        assert mask.sum() == rows.sum() * columns.sum()
        assert mask.sum() <= 0.33 * 400


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_images_and_labels_are_mixed_in_the_same_proportion(kind):
    """Images of one value, which is the label's: the mean value is that of the target."""
    images = np.broadcast_to(50 * LABELS[:, None, None, None], (16, 40, 40, 3)).astype(np.uint8)
    mixed, targets = ImageMixing(kind, 5)(images, LABELS, SEED)
    assert mixed.dtype == tf.uint8
    mixed, targets = mixed.numpy().astype(float), targets.numpy()
    np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
    values = targets @ (50.0 * np.arange(5))
    np.testing.assert_allclose(
        mixed.mean(axis=(1, 2, 3)), values, atol=0.5 if kind == "mixup" else 12
    )
    levels = [len(np.unique(image)) for image in mixed]
    assert max(levels) == (1 if kind == "mixup" else 2)
    two = (targets > 0).sum(axis=1) == 2
    assert two.sum() >= 5
    assert (targets[np.arange(16), LABELS] > 0).all()


def test_both_are_one_of_the_two_and_follow_from_the_seed():
    mixing = tf.function(ImageMixing("both", 5))
    single = [ImageMixing(kind, 5) for kind in ("mixup", "cutmix")]
    kinds = []
    for number in range(12):
        seed = tf.constant([number, 0])
        images, targets = mixing(PICTURES, LABELS, seed)
        again = mixing(PICTURES, LABELS, seed)
        np.testing.assert_array_equal(images, again[0])
        np.testing.assert_array_equal(targets, again[1])
        equal = [np.array_equal(images, one(PICTURES, LABELS, seed)[0]) for one in single]
        assert sum(equal) == 1
        kinds.append(equal[0])
    assert len(set(kinds)) == 2
