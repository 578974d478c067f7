"""The preprocessor compared with the oracle, position by position."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

from covid_lm.backbones.vocabulary import built_in_vocabulary
from covid_lm.evaluation.token_positions import token_positions
from covid_lm.layers.file_name_input import POLICIES
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.protocols import LAYOUTS
from tests.conftest import encode, random_picture
from tests.layers import encoded_images
from tests.oracle import oracle_sequence

VOCABULARY = list(built_in_vocabulary())
NAMES = {
    "empty": b"",
    "one": b"a",
    "eight": b"ab%1.png",
    "twelve": b"A b,c%2.jpeg",
    "utf-8": "kühl é.png".encode(),
    "nul": b"a\x00b\x00",
    "153": b"Name-" * 30 + b"end",
    "254": b"x" * 200 + b"y" * 54,
    "255": b"x" * 200 + b"y" * 55,
    "300": bytes(range(1, 256)) + b"z" * 45,
}
SOURCES = [encode(random_picture(41, 67, seed)) for seed in range(len(NAMES))]
KEYS = ("token_ids", "segment_ids", "padding_mask")


def luminance(pixels: np.ndarray) -> np.ndarray:
    weighted = pixels.astype(np.int64) @ [19595, 38470, 7471] + 0x8000
    return (weighted >> 16).astype(np.uint8)[..., None]


@functools.cache
def resized_by_us(size: int) -> np.ndarray:
    """Pixels within one level of Pillow's, so that tokens can be compared exactly."""
    pixels = Preprocessor(VOCABULARY, image_size=size).decode(tf.constant(SOURCES))["pixels"]
    for row, source in enumerate(SOURCES):
        difference = pixels[row].numpy().astype(int) - encoded_images.resized(source, (size, size))
        assert np.abs(difference).max() <= 1
    return pixels.numpy()


def pixels_of(layout: str) -> np.ndarray:
    """The resized sources as each layout defines them."""
    return {"paper": resized_by_us(32), "gray22": luminance(resized_by_us(22))}[layout]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_position_equals_the_oracle(layout):
    for policy in POLICIES if layout == "paper" else ("visible", "fixed"):
        preprocessor = Preprocessor(VOCABULARY, policy=policy, **LAYOUTS[layout])
        names = tf.constant(list(NAMES.values()))
        output = preprocessor.tokenize(pixels_of(layout), names)
        if policy == "visible":
            both_halves = preprocessor(tf.constant(SOURCES), names)
            assert both_halves.pop("valid").numpy().all()
            assert not any(both_halves.pop("reason").numpy())
            for key in KEYS:
                np.testing.assert_array_equal(output[key], both_halves[key])
        for row, (pixels, name) in enumerate(zip(pixels_of(layout), NAMES.values(), strict=True)):
            expected = oracle_sequence(pixels, name, VOCABULARY, policy)
            for key in KEYS:
                np.testing.assert_array_equal(output[key][row], expected[key], f"{policy} {name}")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_the_papers_layout_trims_the_image_without_a_name(layout):
    for policy in ("fixed", "absent"):
        preprocessor = Preprocessor(VOCABULARY, policy=policy, **LAYOUTS[layout])
        kept = token_positions(preprocessor, b"").kept()
        assert kept.shape[1:] == preprocessor.image_input.image_size
        assert kept.all() == (layout != "paper")


@pytest.mark.parametrize(
    "size", [(1, 1), (163, 122), pytest.param((1637, 1225), marks=pytest.mark.slow)], ids=str
)
def test_every_kind_of_image_equals_the_oracle(size):
    files = encoded_images.good_images(*size)
    preprocessor = Preprocessor(VOCABULARY, policy="visible")
    output = preprocessor(tf.constant(list(files.values())), tf.constant(list(files)))
    assert output["valid"].numpy().all()
    pixels = preprocessor.decode(tf.constant(list(files.values())))["pixels"].numpy()
    for row, (kind, file) in enumerate(files.items()):
        difference = np.abs(pixels[row].astype(int) - encoded_images.resized(file))
        assert difference.max() <= 1, kind
        expected = oracle_sequence(pixels[row], kind.encode(), VOCABULARY, "visible")
        for key in KEYS:
            np.testing.assert_array_equal(output[key][row], expected[key], err_msg=kind)


def test_green_never_survives_the_papers_trim():
    red_blue = random_picture(32, 32, 1)
    other_green = red_blue.copy()
    other_green[..., 1] = 255 - other_green[..., 1]
    preprocessor = Preprocessor(VOCABULARY, policy="fixed")
    output = preprocessor(tf.constant([encode(red_blue), encode(other_green)]))
    np.testing.assert_array_equal(output["token_ids"][0], output["token_ids"][1])
    other_red = red_blue.copy()
    other_red[0, 0, 0] ^= 255
    changed = preprocessor(tf.constant([encode(other_red)]))["token_ids"][0]
    np.testing.assert_array_equal(np.flatnonzero(changed != output["token_ids"][0]), [1])


def test_same_in_dataset_map_and_graph():
    preprocessor = Preprocessor(VOCABULARY)
    image_bytes, names = tf.constant([*SOURCES, b"junk"]), tf.constant([*NAMES.values(), b"j"])
    eager = preprocessor(image_bytes, names)
    dataset = tf.data.Dataset.from_tensor_slices((image_bytes, names)).batch(4).map(preprocessor)
    mapped = list(dataset.as_numpy_iterator())
    graph = tf.function(preprocessor)(image_bytes, names)
    for key in (*KEYS, "valid", "reason"):
        np.testing.assert_array_equal(np.concatenate([b[key] for b in mapped]), eager[key])
        np.testing.assert_array_equal(graph[key], eager[key])
    assert not eager["valid"][-1]
    assert dataset.element_spec["token_ids"].shape.as_list() == [None, 512]


def test_a_policy_that_reads_names_needs_them():
    with pytest.raises(ValueError, match="the masked policy reads the file name"):
        Preprocessor(VOCABULARY, policy="masked")(tf.constant(SOURCES[:1]))


def test_short_sequences_are_padded():
    preprocessor = Preprocessor(VOCABULARY, policy="absent", image_size=4)
    output = preprocessor(tf.constant(SOURCES[:1]))
    assert int(tf.reduce_sum(output["padding_mask"])) == 1 + 4 * 4 * 3 + 2
    pixels = preprocessor.decode(tf.constant(SOURCES[:1]))["pixels"][0].numpy()
    expected = oracle_sequence(pixels, b"", VOCABULARY, "absent")
    for key in KEYS:
        np.testing.assert_array_equal(output[key][0], expected[key])


def test_config_round_trip():
    config = Preprocessor(VOCABULARY, policy="fixed", **LAYOUTS["gray22"]).get_config()
    again = keras.layers.deserialize(keras.layers.serialize(Preprocessor.from_config(config)))
    assert again.get_config() == config
    image = tf.constant(SOURCES[:2])
    np.testing.assert_array_equal(
        again(image)["token_ids"], Preprocessor.from_config(config)(image)["token_ids"]
    )
