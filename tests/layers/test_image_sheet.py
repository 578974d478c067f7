"""Several sizes of one picture on one sheet, value by value."""

import numpy as np
import tensorflow as tf

from covid_lm.layers.concatenation import Concatenation
from covid_lm.layers.image_decode import resize
from covid_lm.layers.image_input import ImageInput
from covid_lm.layers.image_sheet import (
    mirrored_sheet,
    resize_to_sheet,
    sheet_blocks,
    sheet_size,
)
from covid_lm.layers.symbols import CLS, SEP
from tests.conftest import encode, random_picture

SIZES = ((2, 3), (1, 2))
SHEET = np.array([[1, 2, 3, 7, 8], [4, 5, 6, 0, 0]], np.uint8)[..., np.newaxis]


def test_a_sheet_value_by_value():
    assert sheet_size(SIZES) == (2, 5)
    first, second = sheet_blocks(tf.constant(SHEET), SIZES)
    assert first.numpy()[..., 0].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert second.numpy()[..., 0].tolist() == [[7, 8]]
    mirrored = mirrored_sheet(tf.constant(SHEET), SIZES).numpy()[..., 0]
    assert mirrored.tolist() == [[3, 2, 1, 8, 7], [6, 5, 4, 0, 0]]


def test_a_batch_of_sheets_is_mirrored_one_by_one():
    batch = np.stack([SHEET, SHEET + 100])
    mirrored = mirrored_sheet(tf.constant(batch), SIZES).numpy()
    for sheet, expected in zip(mirrored, batch, strict=True):
        one = mirrored_sheet(tf.constant(expected), SIZES).numpy()
        blank = np.zeros_like(one)
        blank[1, 3:] = 1  # what lies on a blank place is blank afterwards
        np.testing.assert_array_equal(sheet, np.where(blank, 0, one))


def test_a_picture_is_resized_to_each_size():
    picture = tf.constant(random_picture(20, 31))
    sheet = resize_to_sheet(picture, ((6, 6), (3, 3))).numpy()
    assert sheet.shape == (6, 9, 3)
    np.testing.assert_array_equal(sheet[:, :6], resize(picture, (6, 6)))
    np.testing.assert_array_equal(sheet[:3, 6:], resize(picture, (3, 3)))
    assert not sheet[3:, 6:].any()


def test_image_input_gives_a_sheet_and_leaves_a_bad_one_blank():
    layer = ImageInput(6, "luminance", further_sizes=(3,))
    output = layer(tf.constant([encode(random_picture(20, 31)), b"junk"]))
    assert output["pixels"].shape == (2, 6, 9, 1)
    assert output["valid"].numpy().tolist() == [True, False]
    whole = ImageInput(6, "luminance")(tf.constant([encode(random_picture(20, 31))]))["pixels"]
    np.testing.assert_array_equal(output["pixels"][0, :, :6], whole[0])
    assert not output["pixels"][1].numpy().any()


def test_pictures_on_a_sheet_follow_one_another():
    rgb = np.concatenate([SHEET, SHEET + 20, SHEET + 40], axis=-1)
    name = {"symbols": tf.zeros([1, 0], tf.int32), "lengths": tf.constant([0])}
    output = Concatenation(sizes=SIZES)(tf.constant(rgb[np.newaxis]), name)
    planes = [1, 2, 3, 4, 5, 6], [7, 8]
    values = [value + plane for picture in planes for plane in (0, 20, 40) for value in picture]
    assert output["symbols"].numpy().tolist() == [[CLS, *values, SEP, SEP]]
    assert output["lengths"].numpy().tolist() == [len(values) + 3]
