"""New splits: dependent images in one split, classes and factors in equal shares."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from covid_lm.auditing.duplicates import DuplicatePair, independent_groups
from covid_lm.auditing.features.names import name_sources
from covid_lm.auditing.features.observations import Observation
from covid_lm.data.factors import factor_columns, factor_levels
from covid_lm.data.records import SPLITS, ImageRecord
from covid_lm.data.splits import class_groups, draw_missing_splits
from covid_lm.errors import InputError

DRAWS = 10  # at most, of which the most balanced is taken
MAX_DRAWN_GROUPS = 20_000  # in all draws: more take minutes, and many groups are balanced anyway


@dataclasses.dataclass(frozen=True)
class NewSplits:
    """New splits of n images.

    Attributes:
        splits: of each image.
        groups: int [n]; images of one group depend on each other and are in one split.
        factors: names of the factors that the draw was chosen by.
        draws: number of draws.
    """

    splits: tuple[str, ...]
    groups: np.ndarray
    factors: tuple[str, ...]
    draws: int

    @property
    def line(self) -> str:
        """A sentence on how they were drawn."""
        largest = int(np.bincount(self.groups).max())
        balanced = ", ".join(("classes", *self.factors))
        return (
            f"new splits: {len(self.splits)} images in {int(self.groups.max()) + 1} groups (the "
            f"largest of {largest}) by patient, near duplicate and source, none of them divided; "
            f"of {self.draws} draw(s) the one with the most equal shares of {balanced}"
        )


def draw_new_splits(
    seen: Sequence[Observation],
    pairs: Sequence[DuplicatePair],
    classes: Sequence[str],
    seed: int,
) -> NewSplits:
    """Draws new train, val and test splits in the shares of `data.splits.SHARES`.

    Images of one patient, duplicates, and files whose names suggest one source are a group. Groups
    are drawn by scikit-learn's `StratifiedGroupKFold` with equal shares of the classes. Of several
    draws the one is taken in which classes and factors are distributed most equally.

    Args:
        pairs: duplicates, as indices into `seen`.
        classes: their names.
        seed: equal seeds give equal splits.

    Raises:
        InputError: a class with fewer groups than there are splits.
    """
    records = [observation.record for observation in seen]
    groups = independent_groups([r.patient for r in records], pairs, name_sources(records))
    labels = np.array([record.label for record in records])
    for name, count in zip(classes, class_groups(labels, groups, len(classes)), strict=True):
        if count < len(SPLITS):
            raise InputError(
                f"--split: class {name!r} has {count} group(s) of images that depend on each other "
                f"(by patient, duplicate or source); {len(SPLITS)} splits need as many"
            )
    grouped = tuple(
        dataclasses.replace(record, split="train", patient=str(group))
        for record, group in zip(records, groups, strict=True)
    )
    factors, columns = _columns(records, labels)
    count = max(1, min(DRAWS, MAX_DRAWN_GROUPS // (int(groups.max()) + 1)))
    draws = [draw_missing_splits(grouped, seed * DRAWS + draw)[0] for draw in range(count)]
    drawn = [tuple(record.split for record in draw) for draw in draws]
    best = min(drawn, key=lambda splits: imbalance(splits, columns))
    return NewSplits(best, groups, factors, count)


def _columns(
    records: Sequence[ImageRecord], labels: np.ndarray
) -> tuple[tuple[str, ...], np.ndarray]:
    """Names of the factors with levels, and indicators of each class and level, bool [n, k]."""
    columns = [labels[:, None] == np.unique(labels)]
    names = []
    for name, values in factor_columns(records).items():
        found = factor_levels(values, name)
        if found is not None and len(found.levels) > 1:
            names.append(name)
            columns.append(found.codes[:, None] == np.arange(len(found.levels)))
    return tuple(names), np.concatenate(columns, axis=1)


def imbalance(splits: Sequence[str], columns: np.ndarray) -> float:
    """Sum of squared standardized differences of shares between each split and all images.

    Args:
        splits: of n images.
        columns: bool [n, k]; no column needs to differ between images.
    """
    shares = columns.mean(axis=0)
    variances = np.maximum(shares * (1 - shares), 1e-12)
    names = np.array(splits)
    total = 0.0
    for split in SPLITS:
        inside = columns[names == split]
        if len(inside):
            differences = inside.mean(axis=0) - shares
            total += float(np.sum(len(inside) * differences**2 / variances))
    return total
