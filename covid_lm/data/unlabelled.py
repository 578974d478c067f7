"""Images of several data sets for pre-training, without labels and without test images."""

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence

from covid_lm.data.archives import zip_members
from covid_lm.data.conversion import DEFAULT, Conversion, read_and_convert
from covid_lm.data.dicom_frames import find_headers
from covid_lm.data.file_records import ImageFile, file_records
from covid_lm.data.identifiers import Identifiers, without_identifiers
from covid_lm.data.image_files import find_images, skipped_line
from covid_lm.data.records import ImageDataset, ImageRecord, read_image
from covid_lm.data.splits import draw_split, limit_images
from covid_lm.errors import InputError
from covid_lm.files import is_directory, is_remote

VAL_SHARE = 0.1


def unlabelled_images(
    data_dir: str, seed: int = 0, conversion: Conversion = DEFAULT
) -> ImageDataset:
    """Reads the images of a folder and its subfolders, or the files of a zip, as one class.

    A seeded tenth is the validation split, of whole patients where DICOM files name them; there is
    no test split. Hidden files are left out.

    Args:
        conversion: of the files; of a DICOM file in a zip, the middle frame is taken.

    Raises:
        InputError: no such folder or zip, no images in it, or a link out of it.
    """
    notes: tuple[str, ...] = ()
    if is_directory(data_dir):
        found = find_images(data_dir)
        found.check_readable(data_dir)
        files = [ImageFile(path, 0, "train") for path in found.images]
        headers = found.headers or find_headers(found.images if is_remote(data_dir) else ())
        records, identifiers = file_records(files, headers, (), conversion)
        note = identifiers.replace(skipped_line(found.others, data_dir))
        notes = (note,) if note else ()
    else:
        try:
            members = zip_members(data_dir)
        except FileNotFoundError:
            raise InputError(f"{data_dir}: no such folder or zip") from None
        records, identifiers = _members(data_dir, members, conversion), Identifiers()
    if len(records) > 1:
        records = draw_split(records, "val", VAL_SHARE, seed)
    records = without_identifiers(records, identifiers, data_dir)
    return ImageDataset("images", ("image",), records, notes=notes).check()


def _members(
    archive: str, members: Mapping[str, Callable[[], bytes]], conversion: Conversion
) -> tuple[ImageRecord, ...]:
    records = []
    for member, read in members.items():
        path, name = f"{archive}!{member}", member.split("/")[-1]
        converted = functools.partial(read_and_convert, read, path, conversion.window)
        if not name.startswith("."):
            records.append(ImageRecord(name, 0, "train", path, converted))
    return tuple(records)


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
