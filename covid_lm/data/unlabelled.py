"""Images of several data sets without their labels, none of them a test image."""

import dataclasses
import hashlib
from collections.abc import Sequence

from covid_lm.data.records import ImageDataset, ImageRecord, read_image
from covid_lm.data.splits import limit_images


@dataclasses.dataclass(frozen=True)
class UnlabelledImages:
    """What may be pre-trained on.

    Attributes:
        train, val: records of the data sets' splits of that name, in the data sets' order.
        left_out: records of those splits whose file is, byte for byte, a test image of one of the
            data sets.
    """

    train: tuple[ImageRecord, ...]
    val: tuple[ImageRecord, ...]
    left_out: tuple[ImageRecord, ...]


def unlabelled_images(
    datasets: Sequence[ImageDataset], max_images: int | None = None
) -> UnlabelledImages:
    """The training and validation images of all data sets, less what any of them tests on.

    One data set's training split may hold another's test images, as two splits of the same files
    do; of the test files nothing but their digests is kept. Of each data set, at most `max_images`
    of each split are looked at.
    """
    held_out = {_digest(record) for dataset in datasets for record in dataset.split("test")}
    kept: dict[str, list[ImageRecord]] = {"train": [], "val": []}
    left_out: list[ImageRecord] = []
    for split in kept:
        for dataset in datasets:
            for record in limit_images(dataset, max_images).split(split):
                (left_out if _digest(record) in held_out else kept[split]).append(record)
    return UnlabelledImages(tuple(kept["train"]), tuple(kept["val"]), tuple(left_out))


def _digest(record: ImageRecord) -> bytes:
    return hashlib.sha256(read_image(record)).digest()
