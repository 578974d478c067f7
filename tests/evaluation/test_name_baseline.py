"""The tree on the name's length."""

import numpy as np

from covid_lm.data.records import ImageRecord
from covid_lm.evaluation.baselines import name_length_baseline


def record(filename: str, label: int) -> ImageRecord:
    return ImageRecord(filename, label, "train", f"data/{filename}", bytes)


def named(length: int, label: int) -> ImageRecord:
    return record("n" * (length - 4) + ".png", label)


def test_two_lengths_are_two_classes():
    train = [named(5 + i % 4, 0) for i in range(20)] + [named(19 + i, 1) for i in range(20)]
    test = [named(6, 0), named(8, 0), named(13, 0), named(14, 1), named(150, 1)]
    # the only cut is half-way between 8 and 19
    assert name_length_baseline(train, test, 2).tolist() == [[1, 0], [1, 0], [1, 0], [0, 1], [0, 1]]


def test_a_leaf_gives_the_shares_of_its_classes():
    train = [named(8, label) for label in (0, 0, 0, 1)]
    assert (
        name_length_baseline(train, [named(8, 1), named(99, 0)], 2).tolist() == [[0.75, 0.25]] * 2
    )


def test_the_depth_is_three():
    train = [named(length, length % 2) for length in range(5, 37)]
    probabilities = name_length_baseline(train, train, 2)
    # 32 lengths of alternating classes would need five levels; neighbours share 8 leaves at most
    assert 1 <= np.count_nonzero(np.diff(probabilities[:, 1])) <= 7
    assert np.sum(probabilities.argmax(axis=1) == [r.label for r in train]) < 32


def test_length_is_counted_in_bytes():
    train = [record("aaaa.png", 0), record("éééé.png", 1)]  # 8 and 12 bytes
    test = [record("a\udce9\udce9a.png", 0), record("bbbbbbbb.png", 0)]
    assert name_length_baseline(train, test, 2).tolist() == [[1, 0], [0, 1]]


def test_classes_absent_from_training():
    train, test = [named(5, 0), named(9, 2)], [named(5, 3), named(9, 1)]
    assert name_length_baseline(train, test, 4).tolist() == [[1, 0, 0, 0], [0, 0, 1, 0]]
    assert name_length_baseline(train, test, 5).shape == (2, 5)
