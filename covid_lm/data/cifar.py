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
from typing import Any

import numpy as np
from PIL import Image

from covid_lm.data.archives import zip_members
from covid_lm.data.cifar_files import IMAGES_ZIP, find_source, is_published, read_files
from covid_lm.data.records import ImageDataset, ImageRecord
from covid_lm.data.restricted_pickle import load_pickle
from covid_lm.data.splits import draw_split
from covid_lm.errors import InputError

VAL_SHARE = 0.1
VAL_SEED = 0
NUM_VALUES = 3 * 32 * 32
# Keys of the pickles; the binary version has the same labels, last to first.
LABELS = {"cifar10": "labels", "cifar100": "fine_labels", "cifar100_coarse": "coarse_labels"}
# CIFAR-10's, in its order.
CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
# Pixels, uint8 [n, 3072], red, green, blue; labels by key; file names.
_Batch = tuple[np.ndarray, dict[str, list[int]], list[str]]


def cifar(name: str, data_dir: str) -> ImageDataset:
    """Reads CIFAR-10, or CIFAR-100 with its 100 classes or its 20 superclasses ("_coarse").

    The data set's name ends in "(JPEG copies)" for the zip, and in "(files not verified)" unless
    the archive has the published size and MD5 sum. Both versions of CIFAR-100 have the same splits.

    Args:
        name: "cifar10", "cifar100" or "cifar100_coarse".
        data_dir: see `cifar_files.find_source`.

    Raises:
        InputError: no files there, or damaged, unsafe or invalid ones.
    """
    source = find_source(name, data_dir)
    if source.layout is IMAGES_ZIP:
        copies = draw_split(_read_images_zip(source.path), "val", VAL_SHARE, VAL_SEED)
        return ImageDataset("cifar10 (JPEG copies)", CLASSES, copies).check()
    full_name = name if is_published(source) else f"{name} (files not verified)"
    keys = ("labels",) if name == "cifar10" else ("fine_labels", "coarse_labels")
    files = read_files(source)
    class_names: dict[str, tuple[str, ...]] = {}
    for filename in source.layout.meta:
        class_names |= _read_class_names(files[filename], source.locate(filename), keys)
    records: list[ImageRecord] = []
    labels: list[int] = []
    for filename in source.layout.batches:
        path = source.locate(filename)
        read = _read_binary if filename.endswith(".bin") else _read_pickle
        pixels, batch_labels, names = read(files.pop(filename), path, keys)
        _check_labels(batch_labels, class_names, path)
        split = "test" if filename == source.layout.batches[-1] else "train"
        records += [
            ImageRecord(image, label, split, f"{path}[{row}]", functools.partial(_png, pixels[row]))
            for row, (image, label) in enumerate(zip(names, batch_labels[keys[0]], strict=True))
        ]
        labels += batch_labels[LABELS[name]]
    # The draw is by the finest labels, so that both versions of CIFAR-100 have the same splits.
    relabelled = tuple(
        dataclasses.replace(record, label=label)
        for record, label in zip(
            draw_split(records, "val", VAL_SHARE, VAL_SEED), labels, strict=True
        )
    )
    return ImageDataset(full_name, class_names[LABELS[name]], relabelled).check()


def _read_class_names(
    content: bytes, path: str, keys: tuple[str, ...]
) -> dict[str, tuple[str, ...]]:
    """Maps the label keys in this file to class names."""
    if path.endswith(".txt"):
        names = _decoded(content.split(b"\n"), path)
        key = "coarse_labels" if os.path.basename(path).startswith("coarse") else keys[0]
        return {key: tuple(name.strip() for name in names if name.strip())}
    stored = load_pickle(content, path)
    names_of = {key: f"{key.removesuffix('s')}_names" for key in keys}
    return {key: tuple(_decoded(_entry(stored, names_of[key], path), path)) for key in keys}


def _check_labels(
    labels_by_key: dict[str, list[int]], class_names: dict[str, tuple[str, ...]], path: str
) -> None:
    for key, labels in labels_by_key.items():
        count = len(class_names[key])
        if not all(type(label) is int and 0 <= label < count for label in labels):
            raise InputError(f"{path}: {key} outside 0 to {count - 1}; fetch it again")


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
    return pixels, labels, filenames


def _read_binary(content: bytes, path: str, keys: tuple[str, ...]) -> _Batch:
    width = len(keys) + NUM_VALUES
    if len(content) % width:
        raise InputError(f"{path}: {len(content)} bytes, no multiple of {width}; fetch it again")
    rows = np.frombuffer(content, np.uint8).reshape(-1, width)
    labels = {key: rows[:, -1 - n - NUM_VALUES].tolist() for n, key in enumerate(keys)}
    stem = os.path.basename(path).removesuffix(".bin")
    return rows[:, len(keys) :], labels, [f"{stem}_{row:05}.png" for row in range(len(rows))]


def _png(values: np.ndarray) -> bytes:
    """Encodes uint8 [3072] as PNG."""
    picture = values.reshape(3, 32, 32).transpose(1, 2, 0)  # [height, width, RGB]
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


def _read_images_zip(path: str) -> list[ImageRecord]:
    """Returns the zip's records, sorted by name, in the splits "train" and "test"."""
    records = []
    for member, read in sorted(zip_members(path).items()):
        parts = member.split("/")
        if len(parts) != 3 or parts[0] not in ("train", "test") or parts[1] not in CLASSES:
            raise InputError(
                f"{path}: holds {member!r}; its files must be train/CLASS/NAME or test/CLASS/NAME, "
                f"with CLASS one of {', '.join(CLASSES)}"
            )
        split, class_name, filename = parts
        label = CLASSES.index(class_name)
        records.append(ImageRecord(filename, label, split, f"{path}!{member}", read))
    return records
