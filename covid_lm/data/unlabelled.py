"""Images of several data sets for pre-training, without labels and without test images."""

import hashlib
from collections.abc import Sequence

from covid_lm.data.records import ImageDataset, ImageRecord, read_image
from covid_lm.data.splits import limit_images


def unlabelled_records(
    datasets: Sequence[ImageDataset], split: str, max_images: int | None = None
) -> tuple[ImageRecord, ...]:
    """Returns the images of one split of all data sets, at most `max_images` of each."""
    return tuple(
        record for dataset in datasets for record in limit_images(dataset, max_images).split(split)
    )


def held_out_digests(datasets: Sequence[ImageDataset]) -> frozenset[bytes]:
    """Returns the digests of all test images, by which other splits can be checked for them."""
    return frozenset(
        content_digest(read_image(record))
        for dataset in datasets
        for record in dataset.split("test")
    )


def content_digest(content: bytes) -> bytes:
    """Returns the SHA-256 digest of a file's content."""
    return hashlib.sha256(content).digest()
