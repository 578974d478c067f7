import numpy as np
import pytest
import tensorflow as tf

from covid_lm.layers import symbols
from covid_lm.layers.file_name_input import FileNameInput

NAMES = tf.constant([b"ab", b"", b"\x00\xc3\xa9Z"])


def test_visible_reads_bytes():
    output = FileNameInput("visible")(NAMES)
    pad = symbols.PAD
    expected = [
        [256 + ord("a"), 256 + ord("b"), pad, pad],
        [pad, pad, pad, pad],
        [256, 256 + 0xC3, 256 + 0xA9, 256 + ord("Z")],
    ]
    np.testing.assert_array_equal(output["symbols"], expected)
    np.testing.assert_array_equal(output["lengths"], [2, 0, 4])


def test_masked_keeps_the_length():
    output = FileNameInput("masked")(NAMES)
    mask, pad = symbols.MASK, symbols.PAD
    np.testing.assert_array_equal(
        output["symbols"], [[mask, mask, pad, pad], [pad] * 4, [mask] * 4]
    )


@pytest.mark.parametrize(("policy", "length"), [("fixed", 3), ("absent", 0)])
def test_fixed_and_absent_ignore_the_name(policy, length):
    output = FileNameInput(policy, fixed_length=3)(NAMES)
    np.testing.assert_array_equal(output["symbols"], np.full([3, length], symbols.MASK))
    np.testing.assert_array_equal(output["lengths"], [length] * 3)


def test_long_names_keep_their_last_bytes():
    output = FileNameInput("visible")(tf.constant([b"ab" + 511 * b"cd" + b"ef", b"x"]))
    pairs = [[256 + ord(character) for character in pair] for pair in ("cd", "ef")]
    np.testing.assert_array_equal(output["symbols"][0], 511 * pairs[0] + pairs[1])
    np.testing.assert_array_equal(output["symbols"][1], [256 + ord("x")] + 1023 * [symbols.PAD])
    np.testing.assert_array_equal(output["lengths"], [1024, 1])


def test_all_names_empty():
    output = FileNameInput("visible")(tf.constant([b"", b""]))
    np.testing.assert_array_equal(output["lengths"], [0, 0])
    assert np.all(output["symbols"].numpy() == symbols.PAD)


def test_unknown_policy():
    with pytest.raises(ValueError, match="policy 'hidden': choose one of visible, masked"):
        FileNameInput("hidden")
