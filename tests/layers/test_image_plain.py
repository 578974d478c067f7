"""The path of a single plain image has the results of the general path, for any file."""

import numpy as np
import pytest
import tensorflow as tf

from covid_lm.layers.image_input import ImageInput
from covid_lm.layers.image_plain import decode_plain
from tests.layers import encoded_images
from tests.layers.structured_mutations import structured_mutations


@pytest.mark.parametrize(
    "count", [20, pytest.param(5_000, marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_a_file_alone_and_in_a_batch_has_the_same_result(count):
    originals = list(encoded_images.good_images(40, 50).values())
    files = [
        *originals,
        *encoded_images.bad_images().values(),
        *encoded_images.mutations(originals, count, seed=count),
        *structured_mutations(originals, count, seed=count),
    ]
    layer = ImageInput(max_pixels=3_000_000)
    valid = 0
    for start in range(0, len(files), 16):
        batch = files[start : start + 16]
        together = layer(tf.constant(batch))
        for number, file in enumerate(batch):
            alone = layer(tf.constant([file]))
            for key in together:
                expected = together[key][number].numpy()
                np.testing.assert_array_equal(alone[key][0].numpy(), expected, str(file[:40]))
        valid += np.count_nonzero(together["valid"])
    assert 0.2 * len(files) < valid < 0.9 * len(files)


def test_files_that_are_cut_anywhere_in_their_first_bytes():
    files = encoded_images.good_images(40, 50)
    layer = ImageInput()
    for name in ("png turned", "jpeg turned", "jpeg progressive", "png palette", "webp turned"):
        cuts = [files[name][:length] for length in range(150)]
        together = layer(tf.constant([*cuts, files[name]]))
        np.testing.assert_array_equal(together["valid"], [False] * len(cuts) + [True])
        reasons = [layer(tf.constant([cut]))["reason"][0].numpy() for cut in cuts]
        np.testing.assert_array_equal(together["reason"][:-1], reasons)


@pytest.fixture(scope="module")
def is_plain():
    """Returns true if files are decoded without the general path."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def decode(image_bytes):
        nothing = tf.zeros([1, 32, 32, 3], tf.uint8), tf.constant([False]), tf.constant(["general"])
        return decode_plain(
            image_bytes,
            tf.constant([32, 32]),
            tf.constant(2**20, tf.int64),
            lambda: tuple(map(tf.identity, nothing)),
        )

    return lambda *files: decode(tf.constant(files, tf.string))[2].numpy()[0] == b""


def test_which_images_are_plain(is_plain):
    files = encoded_images.good_images(40, 50)
    plain = {name for name, file in files.items() if is_plain(file)}
    assert plain == {
        name
        for name in files
        if name.startswith(("png", "jpeg")) and not name.endswith("without end marker")
    }
    assert not any(map(is_plain, encoded_images.bad_images().values()))
    assert not is_plain(files["png rgb"], files["jpeg baseline"])
    assert not is_plain()


def test_metadata_and_data_in_many_chunks_are_plain(is_plain):
    whole = encoded_images.good_images(40, 50)["png rgb"]
    start = whole.index(b"IDAT") - 4
    data = whole[start + 8 : -16]
    text = encoded_images.png_chunk(b"tEXt", b"Comment\0" + bytes(300))
    size = len(data) // 9
    chunks = [
        encoded_images.png_chunk(b"IDAT", data[k : k + size]) for k in range(0, len(data), size)
    ]
    assert is_plain(whole[:start] + text * 3 + whole[start:])
    assert is_plain(whole[:start] + b"".join(chunks) + whole[-12:])
    assert is_plain(whole[:-12] + text + whole[-12:])
    assert not is_plain(whole[:start] + text * 40 + whole[start:])  # left to the general path
