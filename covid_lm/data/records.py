"""What every data reader yields: labelled images that are read when they are needed."""

import dataclasses
import zipfile
import zlib
from collections.abc import Callable

from covid_lm.errors import InputError

SPLITS = ("train", "val", "test")


@dataclasses.dataclass(frozen=True)
class ImageRecord:
    """One labelled image.

    Attributes:
        filename: the base name, as the model may read it.
        label: index into the data set's `classes`.
        split: "train", "val" or "test".
        path: where the image lies, for messages (`archive.zip!member` inside an archive).
        read: returns the encoded image's bytes.
        patient: an identifier shared by the images of one patient, None where unknown.
    """

    filename: str
    label: int
    split: str
    path: str
    read: Callable[[], bytes] = dataclasses.field(repr=False)
    patient: str | None = None


@dataclasses.dataclass(frozen=True)
class ImageDataset:
    """A named set of records; `classes[label]` is the label's name."""

    name: str
    classes: tuple[str, ...]
    records: tuple[ImageRecord, ...]

    def split(self, *splits: str) -> tuple[ImageRecord, ...]:
        """The records of the named splits, in the data set's order."""
        return tuple(record for record in self.records if record.split in splits)

    def check(self) -> "ImageDataset":
        """Returns itself, or raises InputError for a class without training images."""
        if not self.records:
            raise InputError(f"{self.name}: no images found")
        for label, name in enumerate(self.classes):
            if not any(r.label == label and r.split == "train" for r in self.records):
                raise InputError(f"{self.name}: class {name!r} has no training images")
        return self


def read_image(record: ImageRecord) -> bytes:
    """The image's bytes; none where the file can't be read, which no decoder takes for an image."""
    try:
        return record.read()
    except (OSError, zipfile.BadZipFile, zlib.error):
        return b""


def encoded_filename(record: ImageRecord) -> bytes:
    """The file name's bytes as the file system has them."""
    return record.filename.encode("utf-8", "surrogateescape")
