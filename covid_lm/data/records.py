"""Records of labelled images, whose bytes are read on demand."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from covid_lm.errors import InputError, named_apart, reason, visible

SPLITS = ("train", "val", "test")
# Names of splits, in lower case, in folders and tables.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}


@dataclasses.dataclass(frozen=True, slots=True)  # there may be many
class ImageRecord:
    """One labelled image.

    Attributes:
        filename: base name, which a model may read.
        label: index into the data set's `classes`.
        split: "train", "val" or "test".
        path: location, for messages (`archive.zip!member` within an archive). Of a data set from
            `load_dataset` it is visible text, another one for each image.
        read: returns the bytes of the encoded image.
        patient: identifier shared by the images of a patient; None if unknown.
        factors: other facts by name, such as the scanner or the patient's sex.
        source: location of the file if `path` isn't, since that has an identifier of the patient;
            never written or printed.
        exact: path below the location of the data set, if `path` shows it by other characters.
    """

    filename: str
    label: int
    split: str
    path: str
    read: Callable[[], bytes] = dataclasses.field(repr=False)
    patient: str | None = None
    factors: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)
    source: str = dataclasses.field(default="", repr=False)
    exact: str = dataclasses.field(default="", repr=False)


@dataclasses.dataclass(frozen=True, repr=False)
class ImageDataset:
    """A named set of records.

    Attributes:
        classes: `classes[label]` is the name of a label.
        root: the records' location.
        notes: lines for the user on how it was read.
        drawn: the splits that were drawn, since the data has none.
        flags: those by which the tools load it, for the record of a run.
    """

    name: str
    classes: tuple[str, ...]
    records: tuple[ImageRecord, ...]
    root: str = ""
    notes: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()
    flags: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)

    def __repr__(self) -> str:
        counts = ", ".join(f"{split}={len(self.split(split))}" for split in SPLITS)
        return f"ImageDataset({self.name!r}, classes={self.classes}, {counts})"

    def split(self, *splits: str) -> tuple[ImageRecord, ...]:
        """Returns the records of the given splits, in the data set's order."""
        return tuple(record for record in self.records if record.split in splits)

    def path_below(self, record: ImageRecord) -> str:
        """The record's path below the location of the data set."""
        return _below(record.path, self.root)

    def check(self) -> "ImageDataset":
        """Returns the data set; raises InputError if a class has no training images.

        A data set without any training images can be evaluated and audited.
        """
        if not self.records:
            raise InputError(f"{self.name}: no images found")
        if not self.split("train"):
            return self
        for label, name in enumerate(self.classes):
            if not any(r.label == label and r.split == "train" for r in self.records):
                raise InputError(f"{self.name}: class {name!r} has no training images")
        return self


def with_visible_names(dataset: ImageDataset, root: str) -> ImageDataset:
    """Names classes, paths and patients by visible text, different ones by different text.

    File names stay as they are, since models may read them.

    Args:
        root: location of the data set, the start of its paths.
    """
    below = [_below(record.path, root) for record in dataset.records]
    shown = named_apart(below)
    patients = named_apart(record.patient for record in dataset.records if record.patient)
    records = tuple(
        dataclasses.replace(
            record,
            path=visible(record.path.removesuffix(name)) + shown[name],
            patient=patients[record.patient] if record.patient else record.patient,
            exact=name if shown[name] != name else "",
        )
        for record, name in zip(dataset.records, below, strict=True)
    )
    classes = named_apart(dataset.classes)
    return dataclasses.replace(
        dataset, classes=tuple(classes.values()), records=records, root=visible(root)
    )


def _below(path: str, root: str) -> str:
    """The part of a path that is below a folder, or in an archive after its `!`."""
    below = path.removeprefix(root)
    is_member = below != path and below.startswith("!") and not root.endswith("/")
    return below[1:] if is_member else below.lstrip("/")


def read_image(record: ImageRecord) -> bytes:
    """Returns the image's bytes; for an unreadable file b"", which every decoder rejects."""
    try:
        return record.read()
    except OSError:
        return b""


def read_problem(record: ImageRecord) -> str:
    """Returns the reason why the file can't be read; "" for a readable one."""
    try:
        record.read()
    except OSError as error:
        return reason(error)
    return ""


def encoded_filename(record: ImageRecord) -> bytes:
    """Returns the file name as the bytes in the file system."""
    return record.filename.encode("utf-8", "surrogateescape")
