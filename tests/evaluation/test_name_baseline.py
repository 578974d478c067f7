"""The tree on the name's length, and the headline that warns of it."""

import numpy as np
import pytest

from covid_lm.data.records import ImageRecord
from covid_lm.evaluation.baselines import headline, name_length_baseline
from covid_lm.evaluation.metrics import classification_metrics


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


def row(correct: int, n: int = 203, **policies) -> dict:
    labels = np.arange(n) % 2
    answers = np.where(np.arange(n) < correct, labels, 1 - labels)
    return {**classification_metrics(np.eye(2)[answers], labels), **policies}


def test_the_headline_of_a_model_that_sees_the_name():
    assert headline(row(202, test_policy="masked"), row(203)) == (
        "The length of the file name alone gives 203/203: the model's 202/203 is no evidence that "
        "it looks at the picture."
    )
    assert headline(row(203), row(203)).startswith("The length of the file name alone gives 203/2")


@pytest.mark.parametrize("policy", ["fixed", "absent"])
def test_the_headline_of_a_model_that_cannot_see_the_name(policy):
    assert headline(row(137, test_policy=policy), row(203)) == (
        "The length of the file name alone gives 203/203: no less than the 137/203 of a model that "
        "cannot see it."
    )


def test_no_headline_if_the_model_is_better():
    assert headline(row(150), row(149)) is None
    assert headline(row(100, n=200), row(101)) is None  # 101/203 is less than a half
