"""CIFAR-10 as JPEG copies in one zip, `{train,test}/<class>/<image>`, read without unpacking."""

import functools
import zipfile

from covid_lm.data.records import ImageRecord
from covid_lm.data.untrusted_files import zip_members
from covid_lm.errors import InputError

# CIFAR-10's own order, which is the alphabet's.
CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def read_images_zip(path: str) -> list[ImageRecord]:
    """The zip's records in the order of their names, split "train" or "test".

    Raises:
        InputError: not a zip, unsafe or damaged, or a file that has no place in the layout.
    """
    try:
        archive = zipfile.ZipFile(path)
    except zipfile.BadZipFile:
        raise InputError(f"{path}: not a zip, or cut short; fetch it again") from None
    labels = {name: label for label, name in enumerate(CLASSES)}
    records = []
    for member in sorted(zip_members(archive)):
        parts = member.split("/")
        if len(parts) != 3 or parts[0] not in ("train", "test") or parts[1] not in labels:
            raise InputError(
                f"{path}: holds {member!r}; its files must be train/CLASS/NAME or test/CLASS/NAME, "
                f"with CLASS one of {', '.join(CLASSES)}"
            )
        split, class_name, filename = parts
        records.append(
            ImageRecord(
                filename=filename,
                label=labels[class_name],
                split=split,
                path=f"{path}!{member}",
                read=functools.partial(archive.read, member),
            )
        )
    return records
