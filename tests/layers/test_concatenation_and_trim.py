import numpy as np
import tensorflow as tf

from covid_lm.layers.concatenation import Concatenation
from covid_lm.layers.symbols import CLS, MASK, PAD, SEP
from covid_lm.layers.trim import Trim

# One 1x2 image: R 1 2, G 3 4, B 5 6.
PIXELS = tf.constant([[[[1, 3, 5], [2, 4, 6]]]] * 2, tf.uint8)
NAME = {
    "symbols": tf.constant([[MASK, MASK], [MASK, PAD]]),
    "lengths": tf.constant([2, 1]),
}


def concatenated():
    return Concatenation()(PIXELS, NAME)


def test_concatenation_reads_planes_then_name():
    sequence = concatenated()
    np.testing.assert_array_equal(
        sequence["symbols"],
        [
            [CLS, 1, 2, 3, 4, 5, 6, SEP, MASK, MASK, SEP],
            [CLS, 1, 2, 3, 4, 5, 6, SEP, MASK, SEP, PAD],
        ],
    )
    np.testing.assert_array_equal(
        sequence["segment_ids"],
        [[0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0]],
    )
    np.testing.assert_array_equal(sequence["lengths"], [11, 10])


def test_trim_keeps_head_and_tail_of_each_row():
    trimmed = Trim(head=3, tail=4)(concatenated())
    np.testing.assert_array_equal(
        trimmed["symbols"],
        [[CLS, 1, 2, SEP, MASK, MASK, SEP], [CLS, 1, 2, 6, SEP, MASK, SEP]],
    )
    np.testing.assert_array_equal(
        trimmed["segment_ids"], [[0, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1, 1]]
    )


def test_trim_pads_shorter_rows():
    trimmed = Trim(head=6, tail=6)(concatenated())
    np.testing.assert_array_equal(trimmed["symbols"][0, -3:], [MASK, SEP, PAD])
    np.testing.assert_array_equal(trimmed["symbols"][1, -3:], [SEP, PAD, PAD])
    np.testing.assert_array_equal(trimmed["segment_ids"][1, -3:], [1, 0, 0])


def test_trim_of_exactly_its_length_changes_nothing():
    sequence = concatenated()
    trimmed = Trim(head=5, tail=6)(sequence)
    np.testing.assert_array_equal(trimmed["symbols"], sequence["symbols"])


def test_config_round_trip():
    assert Trim.from_config(Trim(head=7, tail=9).get_config()).get_config()["tail"] == 9
