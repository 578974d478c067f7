"""CIFAR in small: a few random images, written in each of the published formats.

The pickles are written opcode by opcode as Python 2 did, which no library does any more.
"""

import dataclasses
import io
import pathlib
import struct
import tarfile

import numpy as np

CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
FINE = ["apple", "beaver", "rose", "seal"]
COARSE = ["aquatic_mammals", "fruit", "flowers"]
COARSE_OF_FINE = [1, 0, 2, 0]


@dataclasses.dataclass(frozen=True)
class Batch:
    """One file: uint8 [n, 3072] in CIFAR's order, labels by key, file names."""

    data: np.ndarray
    labels: dict[str, list[int]]
    filenames: list[str]


def cifar10_batches() -> dict[str, Batch]:
    """Five training batches and a test batch, each with one image of every class."""
    generator = np.random.default_rng(10)
    batches = {}
    for number in range(1, 7):
        name = f"data_batch_{number}" if number < 6 else "test_batch"
        labels = generator.permutation(10).tolist()
        batches[name] = Batch(
            generator.integers(0, 256, [10, 3072], np.uint8),
            {"labels": labels},
            [f"{CLASSES[label]}_s_{number:06}.png" for label in labels],
        )
    return batches


def cifar100_batches() -> dict[str, Batch]:
    """Three training images and one test image of each of four classes."""
    generator = np.random.default_rng(100)
    batches = {}
    for name, copies in (("train", 3), ("test", 1)):
        fine = generator.permutation(np.repeat(np.arange(4), copies)).tolist()
        batches[name] = Batch(
            generator.integers(0, 256, [len(fine), 3072], np.uint8),
            {"fine_labels": fine, "coarse_labels": [COARSE_OF_FINE[label] for label in fine]},
            [f"{FINE[label]}_s_{row:06}.png" for row, label in enumerate(fine)],
        )
    return batches


def python_files(dataset: str) -> dict[str, bytes]:
    """The pickles by file name."""
    if dataset == "cifar10":
        files = {"batches.meta": python2_pickle({"num_vis": 3072, "label_names": CLASSES})}
        batches = cifar10_batches()
    else:
        names = {"fine_label_names": FINE, "coarse_label_names": COARSE}
        files, batches = {"meta": python2_pickle(names)}, cifar100_batches()
    for name, batch in batches.items():
        content = {"batch_label": name, **batch.labels, "data": batch.data}
        files[name] = python2_pickle({**content, "filenames": batch.filenames})
    return files


def binary_files(dataset: str) -> dict[str, bytes]:
    """The binary version by file name: labels (the coarse one first), then the pixels."""
    if dataset == "cifar10":
        files, batches = {"batches.meta.txt": "\n".join([*CLASSES, "", ""])}, cifar10_batches()
    else:
        files = {"fine_label_names.txt": "\n".join(FINE) + "\n"}
        files["coarse_label_names.txt"] = "\n".join(COARSE) + "\n"
        batches = cifar100_batches()
    files = {name: text.encode() for name, text in files.items()}
    for name, batch in batches.items():
        columns = list(reversed(batch.labels.values()))
        rows = zip(*columns, batch.data, strict=True)
        files[f"{name}.bin"] = b"".join(bytes(labels) + row.tobytes() for *labels, row in rows)
    return files


def write_folder(folder: pathlib.Path, files: dict[str, bytes]) -> str:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return str(folder)


def write_tar_gz(path: pathlib.Path, folder: str, files: dict[str, bytes]) -> str:
    """An archive as published: the folder itself, its files in any order, and one more."""
    with tarfile.open(path, "w:gz") as archive:
        directory = tarfile.TarInfo(folder)
        directory.type = tarfile.DIRTYPE
        archive.addfile(directory)
        for name, content in sorted({**files, "readme.html": b"<html>"}.items(), reverse=True):
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return str(path)


def python2_pickle(value: object) -> bytes:
    """The bytes of Python 2.7's `cPickle.dumps(value, 2)`; text becomes byte strings."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value: object) -> bytes:
    if isinstance(value, dict):
        items = b"".join(_opcodes(key) + _opcodes(item) for key, item in value.items())
        return b"}(" + items + b"u"
    if isinstance(value, list):
        return b"](" + b"".join(map(_opcodes, value)) + b"e"
    if isinstance(value, str):
        return _opcodes(value.encode())
    if isinstance(value, bytes):
        short = len(value) < 256
        return (b"U" + struct.pack("<B", len(value)) if short else _long(b"T", len(value))) + value
    if isinstance(value, int):
        return b"K" + bytes([value]) if value < 256 else _long(b"J", value)
    if isinstance(value, np.ndarray):
        return _array_opcodes(value)
    raise TypeError(type(value))


def _array_opcodes(array: np.ndarray) -> bytes:
    code = array.dtype.str[1:]
    dtype = b"cnumpy\ndtype\n" + _opcodes(code) + b"K\x00K\x01\x87R(K\x03"
    dtype += _opcodes(array.dtype.str[:1]) + b"NNN" + b"J\xff\xff\xff\xff" * 2 + b"K\x00tb"
    shape = b"(" + b"".join(_opcodes(size) for size in array.shape) + b"t"
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        + b"(K\x01"
        + shape
        + dtype
        + b"\x89"
        + _opcodes(array.tobytes())
        + b"tb"
    )


def _long(opcode: bytes, value: int) -> bytes:
    return opcode + struct.pack("<i", value)
