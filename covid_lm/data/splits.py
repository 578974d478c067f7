"""Splits that a data set comes without, and smaller ones, drawn once and for all."""

import dataclasses
import random
from collections.abc import Sequence

from covid_lm.data.records import ImageDataset, ImageRecord


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


def at_most(dataset: ImageDataset, max_images: int | None) -> ImageDataset:
    """The data set with at most that many training and that many validation images.

    Classes keep their shares, as near as whole images allow; the test split stays whole. The draw
    depends on the records' paths and labels alone.
    """
    if max_images is None:
        return dataset
    kept: set[str] = set()
    for split in ("train", "val"):
        records = dataset.split(split)
        if len(records) <= max_images:
            kept.update(record.path for record in records)
            continue
        paths_by_label: dict[int, list[str]] = {}
        for record in records:
            paths_by_label.setdefault(record.label, []).append(record.path)
        # Every image's rank within its class, as a share: the lowest ones are drawn.
        ranked = []
        for label, paths in sorted(paths_by_label.items()):
            paths = sorted(paths)
            random.Random(f"{split} {label}").shuffle(paths)
            ranked += [(rank / len(paths), label, path) for rank, path in enumerate(paths)]
        kept.update(path for _, _, path in sorted(ranked)[:max_images])
    records = tuple(r for r in dataset.records if r.split == "test" or r.path in kept)
    return dataclasses.replace(dataset, records=records)
