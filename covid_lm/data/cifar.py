"""CIFAR-10 and CIFAR-100 from their published archives, and CIFAR-10 as JPEG copies.

| version | file names |
|---|---|
| Python pickles | CIFAR's own, which name the class, as `leptodactylus_s_000004.png` |
| binary | none; numbered here, as `data_batch_1_00000.png` |
| JPEG copies | those in the zip, as `0000.jpg`; slightly lossy |

The test split is the published one. Validation is a tenth of each class's training images, drawn
with a fixed seed: 45,000 / 5,000 / 10,000.
"""

import dataclasses
import functools
import io
import os
import zipfile
from typing import Any

import numpy as np
from PIL import Image

from covid_lm.data.archives import zip_members
from covid_lm.data.cifar_files import ImagesZip, Source, find_source, is_published, read_files
from covid_lm.data.records import ImageDataset, ImageRecord
from covid_lm.data.restricted_pickle import load_pickle
from covid_lm.data.splits import draw_split
from covid_lm.errors import InputError

VAL_SHARE = 0.1
VAL_SEED = 0
NUM_VALUES = 3 * 32 * 32
# Keys of the pickles, the finest labels first; the binary version's bytes, last to first.
LABELS = {"cifar10": ("labels",), "cifar100": ("fine_labels", "coarse_labels")}
CLASS_NAMES = {
    "labels": "label_names",
    "fine_labels": "fine_label_names",
    "coarse_labels": "coarse_label_names",
}


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Content of one file: pixels, uint8 [n, 3072], red, green, blue; labels by key; file names."""

    pixels: np.ndarray
    labels: dict[str, list[int]]
    filenames: list[str]


def cifar10(data_dir: str) -> ImageDataset:
    """Reads CIFAR-10, 10 classes; see `cifar_files.find_source` for `data_dir`.

    The data set's name ends in "(JPEG copies)" for the zip, and in "(files not verified)" unless
    the archive has the published size and MD5 sum.

    Raises:
        InputError: no files there, or damaged, unsafe or invalid ones.
    """
    source = find_source("cifar10", data_dir)
    if isinstance(source, ImagesZip):
        records = draw_split(read_images_zip(source.path), "val", VAL_SHARE, VAL_SEED)
        return ImageDataset("cifar10 (JPEG copies)", CLASSES, records).check()
    return _read("cifar10", "cifar10", source, "labels")


def cifar100(data_dir: str, coarse: bool = False) -> ImageDataset:
    """Reads CIFAR-100, 100 classes or (coarse) 20 superclasses, with the same splits.

    `data_dir`, names and errors as for `cifar10`.
    """
    name, key = ("cifar100_coarse", "coarse_labels") if coarse else ("cifar100", "fine_labels")
    source = find_source("cifar100", data_dir)
    assert isinstance(source, Source)  # JPEG copies exist for CIFAR-10 only
    return _read(name, "cifar100", source, key)


def _read(name: str, dataset: str, source: Source, label_key: str) -> ImageDataset:
    verified = is_published(source)
    class_names, batches = _read_batches(source, LABELS[dataset])
    read = [
        record for filename in batches for record in _records(source, filename, batches[filename])
    ]
    records = draw_split(read, "val", VAL_SHARE, VAL_SEED)
    labels = [label for batch in batches.values() for label in batch.labels[label_key]]
    records = tuple(
        record if record.label == label else dataclasses.replace(record, label=label)
        for record, label in zip(records, labels, strict=True)
    )
    name = name if verified else f"{name} (files not verified)"
    return ImageDataset(name, class_names[label_key], records).check()


def _read_batches(
    source: Source, keys: tuple[str, ...]
) -> tuple[dict[str, tuple[str, ...]], dict[str, _Batch]]:
    """Maps label keys to class names, and file names to contents, in the layout's order."""
    layout = source.layout
    class_names: dict[str, tuple[str, ...]] = {}
    batches: dict[str, _Batch] = {}
    for filename, content in read_files(source):
        path = _path(source, filename)
        if filename in layout.meta:
            class_names.update(_read_class_names(content, path, filename, keys))
        elif filename.endswith(".bin"):
            batches[filename] = _read_binary(content, path, filename, keys)
        else:
            batches[filename] = _read_pickle(content, path, keys)
    for filename, batch in batches.items():
        for key, labels in batch.labels.items():
            count = len(class_names[key])
            if not all(type(label) is int and 0 <= label < count for label in labels):
                raise InputError(
                    f"{_path(source, filename)}: {key} outside 0 to {count - 1}; fetch it again"
                )
    return class_names, {name: batches[name] for name in (*layout.train, layout.test)}


def _read_class_names(
    content: bytes, path: str, filename: str, keys: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    """Maps the label keys in this file to class names."""
    if filename.endswith(".txt"):
        names = _decoded(content.split(b"\n"), path)
        key = "coarse_labels" if filename.startswith("coarse") else keys[0]
        return {key: tuple(name.strip() for name in names if name.strip())}
    stored = load_pickle(content, path)
    return {key: tuple(_decoded(_entry(stored, CLASS_NAMES[key], path), path)) for key in keys}


def _read_pickle(content: bytes, path: str, keys: tuple[str, ...]) -> _Batch:
    stored = load_pickle(content, path)
    pixels = stored.get("data")
    if not (
        isinstance(pixels, np.ndarray)
        and pixels.shape[1:] == (NUM_VALUES,)
        and pixels.dtype == np.uint8
    ):
        raise InputError(f"{path}: its data is not uint8 [n, {NUM_VALUES}]; fetch it again")
    labels = {key: _entry(stored, key, path, len(pixels)) for key in keys}
    filenames = _decoded(_entry(stored, "filenames", path, len(pixels)), path)
    for name in filenames:
        if not name or "/" in name or "\0" in name or name in (".", ".."):
            raise InputError(f"{path}: {name!r} is not a file name; fetch it again")
    return _Batch(pixels, labels, filenames)


def _read_binary(content: bytes, path: str, filename: str, keys: tuple[str, ...]) -> _Batch:
    width = len(keys) + NUM_VALUES
    if len(content) % width:
        raise InputError(f"{path}: {len(content)} bytes, no multiple of {width}; fetch it again")
    rows = np.frombuffer(content, np.uint8).reshape(-1, width)
    labels = {key: rows[:, -1 - n - NUM_VALUES].tolist() for n, key in enumerate(keys)}
    stem = os.path.splitext(filename)[0]
    filenames = [f"{stem}_{row:05}.png" for row in range(len(rows))]
    return _Batch(rows[:, len(keys) :], labels, filenames)


def _records(source: Source, filename: str, batch: _Batch) -> list[ImageRecord]:
    """Returns the records of one file, with the finest labels."""
    labels = next(iter(batch.labels.values()))
    path = _path(source, filename)
    split = "test" if filename == source.layout.test else "train"
    return [
        ImageRecord(
            name, label, split, f"{path}[{row}]", functools.partial(_png, batch.pixels, row)
        )
        for row, (name, label) in enumerate(zip(batch.filenames, labels, strict=True))
    ]


def _path(source: Source, filename: str) -> str:
    if os.path.isdir(source.path):
        return os.path.join(source.path, filename)
    return f"{source.path}!{source.layout.folder}/{filename}"


def _png(pixels: np.ndarray, row: int) -> bytes:
    """Encodes a row of uint8 [n, 3072] as PNG."""
    picture = pixels[row].reshape(3, 32, 32).transpose(1, 2, 0)  # [height, width, RGB]
    buffer = io.BytesIO()
    # Without compression, so that the file's length is independent of the image.
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def _entry(stored: dict[str, Any], key: str, path: str, count: int | None = None) -> list:
    values = stored.get(key)
    if not isinstance(values, list) or count not in (None, len(values)):
        wanted = "no list" if count is None else f"no list of {count}"
        raise InputError(f"{path}: {wanted} {key!r}; fetch it again")
    return values


def _decoded(names: list, path: str) -> list[str]:
    try:
        return [bytes.decode(n.encode() if isinstance(n, str) else n) for n in names]
    except (TypeError, UnicodeError):
        raise InputError(f"{path}: a name that is not text; fetch it again") from None


# In CIFAR-10's order.
CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)


def read_images_zip(path: str) -> list[ImageRecord]:
    """Returns the zip's records, sorted by name, in the splits "train" and "test".

    Raises:
        InputError: not a zip, an unsafe or damaged one, or a file outside the layout.
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
