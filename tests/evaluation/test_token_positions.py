"""The map of tokens to pixels and characters, by hand and against the tokens' own values."""

import numpy as np
import pytest
import tensorflow as tf

from covid_lm.backbones.vocabulary import built_in_vocabulary
from covid_lm.evaluation.token_positions import token_positions
from covid_lm.models.preprocessor import Preprocessor
from tests.conftest import encode, random_picture

VOCABULARY = built_in_vocabulary()
NONE = [-1, -1, -1]


def preprocessor(**settings) -> Preprocessor:
    return Preprocessor(**{"vocabulary": VOCABULARY, **settings})


def test_a_sequence_that_fits_is_mapped_completely():
    small = preprocessor(policy="visible", image_size=(1, 2), head=6, tail=6)
    positions = token_positions(small, b"ab")
    planes = [[plane, 0, column] for plane in range(3) for column in range(2)]
    assert positions.pixels[:, 0].tolist() == [NONE, *planes, NONE, NONE, NONE, NONE, NONE]
    assert positions.name.tolist() == [-1] * 8 + [0, 1, -1, -1]
    assert np.flatnonzero(positions.special).tolist() == [0, 7, 10]
    assert positions.kept().tolist() == [[[True, True]]] * 3
    assert (positions.planes, positions.name_length) == ((3, 1, 2), 2)


def test_a_trimmed_sequence_loses_its_middle():
    small = preprocessor(policy="masked", image_size=(2, 2), head=3, tail=5)
    # [CLS] R00 R01 ... B10 B11 [SEP] n0 [SEP]
    positions = token_positions(small, b"x")
    assert positions.pixels[:, 0].tolist() == [
        NONE,
        [0, 0, 0],
        [0, 0, 1],
        [2, 1, 0],
        [2, 1, 1],
        NONE,
        NONE,
        NONE,
    ]
    assert positions.name.tolist() == [-1, -1, -1, -1, -1, -1, 0, -1]
    assert positions.kept().astype(int).tolist() == [
        [[1, 1], [0, 0]],
        [[0, 0], [0, 0]],
        [[0, 0], [1, 1]],
    ]
    values = np.arange(8.0)
    assert positions.on_planes(values).tolist() == [
        [[1, 2], [0, 0]],
        [[0, 0], [0, 0]],
        [[0, 0], [3, 4]],
    ]
    assert positions.on_name(values).tolist() == [6]


def test_a_long_name_pushes_out_the_picture_and_its_own_start():
    small = preprocessor(policy="visible", image_size=(1, 2), head=6, tail=6)
    positions = token_positions(small, b"abcdefgh")
    assert positions.name.tolist() == [-1] * 6 + [3, 4, 5, 6, 7, -1]
    assert positions.kept().tolist() == [[[True, True]], [[True, True]], [[True, False]]]
    characters = positions.on_name(np.arange(12.0))
    np.testing.assert_array_equal(characters, [np.nan, np.nan, np.nan, 6, 7, 8, 9, 10])


@pytest.mark.parametrize("length", [0, 1, 24, 254])
def test_the_paper_s_layout_keeps_the_top_of_red_and_the_bottom_of_blue(length):
    kept = token_positions(preprocessor(policy="masked"), b"n" * length).kept().reshape(3, -1)
    assert np.flatnonzero(kept[0]).tolist() == list(range(255))
    assert not kept[1].any()
    assert np.flatnonzero(kept[2]).tolist() == list(range(1024 - (254 - length), 1024))


@pytest.mark.parametrize(("policy", "places"), [("fixed", 24), ("absent", 0)])
def test_all_gray_values_are_kept(policy, places):
    gray = preprocessor(policy=policy, image_size=22, color="luminance")
    positions = token_positions(gray, b"any name")
    assert positions.kept().shape == (1, 22, 22)
    assert positions.kept().all()
    assert (positions.name >= 0).sum() == positions.name_length == places


@pytest.mark.parametrize("color", ["rgb", "luminance"])
def test_tokens_hold_the_pixel_and_character_that_they_are_mapped_to(color):
    layout = preprocessor(policy="visible", color=color, image_size=(20, 30))
    name = b"scan (1).png"
    image_bytes = tf.constant([encode(random_picture(47, 61))])
    pixels = layout.decode(image_bytes)["pixels"].numpy()[0]  # [20, 30, channels]
    ids = layout(image_bytes, tf.constant([name]))["token_ids"].numpy()[0]
    words = [VOCABULARY[token_id] for token_id in ids]
    positions = token_positions(layout, name)
    for word, (plane, row, column), index in zip(
        words, positions.pixels[:, 0], positions.name, strict=True
    ):
        if plane >= 0:
            assert word == str(pixels[row, column, plane])
        elif index >= 0:
            assert word in (chr(name[index]), "[UNK]")
    assert [words[k] for k in np.flatnonzero(positions.special)] == ["[CLS]", "[SEP]", "[SEP]"]


def test_a_name_beyond_the_bound_keeps_its_last_bytes():
    positions = token_positions(preprocessor(policy="visible"), b"n" * 2000)
    assert positions.name_length == 1024
    assert positions.name[-2] == 1023
