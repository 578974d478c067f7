"""Folds of a cross-validation in which no patient is on both sides."""

from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from covid_lm.data.records import ImageRecord
from covid_lm.errors import InputError


def patient_names(records: Sequence[ImageRecord]) -> list[str]:
    """A name for each image's patient; an image of an unknown one stands for itself."""
    return [
        f"image {place}" if record.patient is None else f"patient {record.patient}"
        for place, record in enumerate(records)
    ]


def held_out_folds(
    records: Sequence[ImageRecord], num_folds: int, num_classes: int, seed: int
) -> list[np.ndarray]:
    """The held-out images of each fold, int [images of the fold], with classes in equal shares.

    All images of a patient are in one fold; an image of an unknown patient stands for itself.

    Raises:
        InputError: fewer than two folds, or a class with fewer patients than folds.
    """
    if num_folds < 2:
        raise InputError(f"--folds={num_folds}: must be at least 2")
    labels = np.array([record.label for record in records])
    groups = np.array(patient_names(records))
    for label in range(num_classes):
        count = len(np.unique(groups[labels == label]))
        if count < num_folds:
            raise InputError(
                f"--folds={num_folds}: class {label} has images of {count} patients only; "
                "use fewer folds"
            )
    folds = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    return [held_out for _, held_out in folds.split(labels, labels, groups)]
