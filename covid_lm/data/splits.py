"""Splits that a data set comes without, drawn once and for all."""

import dataclasses
import random
from collections.abc import Sequence

from covid_lm.data.records import ImageRecord


def carve(
    records: Sequence[ImageRecord], split: str, share: float, seed: int
) -> tuple[ImageRecord, ...]:
    """Moves a share of every class's training records (at least one, never all) to `split`.

    The draw depends on the seed and on the records' paths and labels, not on their order, which is
    kept.
    """
    paths_by_label: dict[int, list[str]] = {}
    for record in records:
        if record.split == "train":
            paths_by_label.setdefault(record.label, []).append(record.path)
    generator = random.Random(seed)
    moved = set()
    for _, paths in sorted(paths_by_label.items()):
        count = min(max(round(share * len(paths)), 1), len(paths) - 1)
        moved.update(generator.sample(sorted(paths), count))
    return tuple(
        dataclasses.replace(record, split=split) if record.path in moved else record
        for record in records
    )
