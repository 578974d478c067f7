"""Images of several data sets for pre-training, without labels and without test images."""

import functools
import hashlib
import re
from collections.abc import Callable, Sequence

from covid_lm.data.archives import zip_members
from covid_lm.data.image_files import find_images, skipped_line
from covid_lm.data.records import ImageDataset, ImageRecord, read_image
from covid_lm.data.splits import draw_split, limit_images
from covid_lm.errors import InputError
from covid_lm.files import is_directory, read_bytes

VAL_SHARE = 0.1


def unlabelled_images(data_dir: str, seed: int = 0) -> ImageDataset:
    """Reads the images of a folder and its subfolders, or the files of a zip, as one class.

    A seeded tenth is the validation split; there is no test split. Hidden files are left out.

    Raises:
        InputError: no such folder or zip, no images in it, or a link out of it.
    """
    notes: tuple[str, ...] = ()
    if is_directory(data_dir):
        found = find_images(data_dir)
        files: dict[str, Callable[[], bytes]] = {
            path: functools.partial(read_bytes, path) for path in found.images
        }
        notes = tuple(filter(None, [skipped_line(found.others, data_dir)]))
    else:
        try:
            members = zip_members(data_dir)
        except FileNotFoundError:
            raise InputError(f"{data_dir}: no such folder or zip") from None
        files = {f"{data_dir}!{name}": read for name, read in members.items()}
    names = {path: re.split(r"[/!]", path)[-1] for path in files}
    records = tuple(
        ImageRecord(names[path], 0, "train", path, read)
        for path, read in files.items()
        if not names[path].startswith(".")
    )
    if len(records) > 1:
        records = draw_split(records, "val", VAL_SHARE, seed)
    return ImageDataset("images", ("image",), records, notes=notes).check()


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
