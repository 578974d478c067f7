"""Folds: each image held out once, no patient in two folds, classes in equal shares."""

import numpy as np
import pytest

from covid_lm.data.records import ImageRecord
from covid_lm.data.splits import held_out_folds, patient_groups
from covid_lm.errors import InputError


def record(label: int, patient: str | None) -> ImageRecord:
    return ImageRecord("a.png", label, "train", "a.png", lambda: b"", patient)


# 30 patients of class 0 with 1 to 3 images, 12 of class 1 with 2, and 6 images of unknown ones.
RECORDS = (
    [record(0, f"a{patient}") for patient in range(30) for _ in range(1 + patient % 3)]
    + [record(1, f"b{patient}") for patient in range(12) for _ in range(2)]
    + [record(1, None) for _ in range(6)]
)


def test_every_image_is_held_out_once_and_no_patient_twice():
    folds = held_out_folds(RECORDS, 5, 2, seed=0)
    assert len(folds) == 5
    assert sorted(np.concatenate(folds)) == list(range(len(RECORDS)))
    sides = [{RECORDS[row].patient for row in fold} - {None} for fold in folds]
    assert sum(map(len, sides)) == len(set().union(*sides)) == 42
    for fold in folds:
        assert np.mean([RECORDS[row].label for row in fold]) == pytest.approx(1 / 3, abs=0.12)


def test_unknown_patients_are_separate_patients():
    folds = held_out_folds(RECORDS, 5, 2, seed=0)
    unknown = [fold for fold in folds if any(RECORDS[row].patient is None for row in fold)]
    assert len(unknown) > 1


def test_patients_become_numbers():
    assert patient_groups(["b", "a", None, "b", None]).tolist() == [3, 2, 0, 3, 1]
    assert patient_groups(["image 1", None]).tolist() == [1, 0]
    assert patient_groups([]).tolist() == []


def test_the_seed_decides():
    def listed(seed):
        return [fold.tolist() for fold in held_out_folds(RECORDS, 5, 2, seed)]

    assert listed(0) == listed(0) != listed(1)


@pytest.mark.parametrize(
    ("num_folds", "message"),
    [
        (1, "--folds=1: must be at least 2"),
        (20, "--folds=20: class 1 has images of 18 patients only; use fewer folds"),
    ],
)
def test_unusable_numbers_of_folds(num_folds, message):
    with pytest.raises(InputError) as error:
        held_out_folds(RECORDS, num_folds, 2, seed=0)
    assert str(error.value) == message
