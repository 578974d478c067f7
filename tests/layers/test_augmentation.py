"""Augmentation: the range of changes, and their dependence on the seed only."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from covid_lm.layers.augmentation import Augmentation
from covid_lm.layers.image_decode import resize
from tests.conftest import random_picture

SIZE = (6, 5)
PICTURE = random_picture(18, 15)
SEEDS = tf.constant([[number, 7] for number in range(40)])


def changed(picture: np.ndarray = PICTURE, seeds=SEEDS, **arguments) -> np.ndarray:
    pictures = tf.repeat(picture[np.newaxis], len(seeds), axis=0)
    return Augmentation(SIZE, **arguments)(pictures, seeds).numpy()


def plain() -> np.ndarray:
    return resize(tf.constant(PICTURE), SIZE).numpy()


def test_without_arguments_it_resizes():
    np.testing.assert_array_equal(changed(), np.broadcast_to(plain(), (40, *SIZE, 3)))


def test_half_of_the_images_are_mirrored():
    mirror_image = resize(tf.constant(PICTURE[:, ::-1]), SIZE)
    mirrored = [np.array_equal(image, mirror_image) for image in changed(flip=True)]
    same = [np.array_equal(image, plain()) for image in changed(flip=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 10 <= sum(mirrored) <= 30


def test_a_crop_is_a_part_resized_as_pillow_does():
    parts = {}
    for height, width in {(round(18 * s / 1000), round(15 * s / 1000)) for s in range(500, 1001)}:
        for top, left in itertools.product(range(18 - height + 1), range(15 - width + 1)):
            part = Image.fromarray(PICTURE[top : top + height, left : left + width])
            resized = part.resize(SIZE[::-1], Image.BILINEAR)
            parts[top, left, height, width] = np.asarray(resized).astype(int)
    found = set()
    for image in changed(smallest_crop=0.5):
        fitting = [key for key, part in parts.items() if np.abs(part - image).max() <= 1]
        assert fitting
        found.add(fitting[0])
    assert len(found) > 20
    assert min(height for _, _, height, _ in found) < 12
    assert {top for top, *_ in found} > {0, 1, 2}


def test_contrast_and_brightness_are_linear_within_an_image():
    values = plain().astype(float).ravel()
    scales, shifts = [], []
    for image in changed(contrast=0.2, brightness=0.1):
        inside = (image.ravel() > 0) & (image.ravel() < 255)
        line = np.polyfit(values[inside], image.ravel()[inside], 1)
        np.testing.assert_allclose(
            np.polyval(line, values[inside]), image.ravel()[inside], atol=1.2
        )
        scales.append(line[0])
        shifts.append(line[1])
    assert 0.79 < min(scales) < 0.9 < 1.1 < max(scales) < 1.21
    assert -26 < min(shifts) < -10 < 10 < max(shifts) < 26


def test_values_are_clipped():
    black, white = np.zeros_like(PICTURE), np.full_like(PICTURE, 255)
    assert changed(black, brightness=0.5).min() == 0
    assert changed(white, brightness=0.5).max() == 255


def test_a_shift_moves_beyond_the_image_where_it_is_black():
    """With zero padding of 2 of 6 rows and of 2 of 5 columns, one of 5 x 5 whole crops."""
    picture = random_picture(*SIZE)
    padded = np.pad(picture, ((2, 2), (2, 2), (0, 0)))
    crops = {
        padded[top : top + 6, left : left + 5].tobytes(): (top, left)
        for top, left in itertools.product(range(5), range(5))
    }
    found = [crops[image.tobytes()] for image in changed(picture, shift=0.35)]
    assert {top for top, _ in found} == {left for _, left in found} == {0, 1, 2, 3, 4}
    flipped = changed(picture, shift=0.35, flip=True)
    both = [image.tobytes() in crops or image[:, ::-1].tobytes() in crops for image in flipped]
    assert all(both)


STRONG = {"smallest_crop": 0.7, "flip": True, "contrast": 0.25, "brightness": 0.1}


def test_an_image_depends_on_its_seed_and_not_on_its_batch():
    together = changed(**STRONG)
    np.testing.assert_array_equal(together[7:9], changed(seeds=SEEDS[7:9], **STRONG))
    assert len({image.tobytes() for image in together}) == 40


@pytest.mark.parametrize("arguments", [STRONG, {"shift": 0.2, "operations": 0.5, "erasing": 0.5}])
def test_same_in_dataset_map_and_after_its_config(arguments):
    layer = Augmentation(SIZE, **arguments)
    again = keras.layers.deserialize(keras.layers.serialize(layer))
    pictures = tf.repeat(PICTURE[np.newaxis], 40, axis=0)
    dataset = tf.data.Dataset.from_tensor_slices((pictures, SEEDS)).batch(8).map(again)
    assert dataset.element_spec.shape.as_list() == [None, *SIZE, 3]
    mapped = np.concatenate(list(dataset.as_numpy_iterator()))
    batches = [slice(start, start + 8) for start in range(0, 40, 8)]
    expected = np.concatenate([layer(pictures[rows], SEEDS[rows]) for rows in batches])
    np.testing.assert_array_equal(mapped, expected)


@pytest.mark.parametrize(
    "arguments", [{"smallest_crop": 0.0}, {"smallest_crop": 1.1}, {"contrast": 2}, {"erasing": -1}]
)
def test_arguments_out_of_range(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Augmentation(SIZE, **arguments)
