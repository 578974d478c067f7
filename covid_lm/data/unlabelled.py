"""Images for pre-training: of several data sets, without their labels and without test images."""

import hashlib
from collections.abc import Sequence

from covid_lm.data.records import ImageDataset, ImageRecord, read_image
from covid_lm.data.splits import limit_images


def unlabelled_records(
    datasets: Sequence[ImageDataset], split: str, max_images: int | None = None
) -> tuple[ImageRecord, ...]:
    """The images of one split of all data sets, at most `max_images` of each data set."""
    return tuple(
        record for dataset in datasets for record in limit_images(dataset, max_images).split(split)
    )


def held_out_digests(datasets: Sequence[ImageDataset]) -> frozenset[bytes]:
    """`content_digest` of all test images, which one data set may share with another's training.

    Nothing else is kept of a test image.
    """
    return frozenset(
        content_digest(read_image(record))
        for dataset in datasets
        for record in dataset.split("test")
    )


def content_digest(content: bytes) -> bytes:
    """SHA-256 of a file's content."""
    return hashlib.sha256(content).digest()
