"""Decoded pixels on disk, memory-mapped, so that each image is decoded once by all runs and tools.

A cache has a folder for each preprocessing, with a file `preprocessing.json` that describes it and
two files to which rows are appended and in which none is changed: `rows` has the pixels of one
image after the other, `index` an `ENTRY` for each row. A row is found by the SHA-256 digest of the
image's file, in whatever data set that is, and used only if it has its CRC-32. So an interrupted
process loses nothing that it has appended, a damaged row is decoded again and appended, and
pixels that another process has mapped never change.
"""

import array
import contextlib
import functools
import glob
import hashlib
import json
import math
import os
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from covid_lm import layers
from covid_lm.errors import InputError, RunError
from covid_lm.files import is_remote, remove_tree, write_json
from covid_lm.layers.image_input import ImageInput
from covid_lm.pipeline.cache_folder import locked_cache, one_line_errors

ENTRY = np.dtype([("digest", "V32"), ("checksum", "<u4")])
LOCATION = ("path", "shape", "rows", "pixels")  # keys of `stored_arrays`
ROWS, INDEX, DESCRIPTION = "rows", "index", "preprocessing.json"


class MappedPixels:
    """The pixels of some images in a cache, which are read from the disk when they are indexed.

    Args:
        stored: the file of rows, uint8 [rows, height, width, channels].
        row_numbers: of the images in the file, int64 [images].
    """

    def __init__(self, stored: np.memmap, row_numbers: np.ndarray):
        self.stored, self.row_numbers = stored, row_numbers
        self.shape = (len(row_numbers), *stored.shape[1:])
        self.nbytes = math.prod(self.shape)

    def __len__(self) -> int:
        return len(self.row_numbers)

    def __getitem__(self, index: int | slice | np.ndarray) -> np.ndarray:
        """uint8 [height, width, channels] of one image, or [n, height, width, channels]."""
        return np.asarray(self.stored[self.row_numbers[index]])

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or np.uint8, copy=False)

    def select(self, indices: np.ndarray) -> "MappedPixels":
        """The images with these indices, int [n], in their order; reads nothing."""
        return MappedPixels(self.stored, self.row_numbers[indices])


def map_pixels(
    path: str, image_shape: tuple[int, ...], row_numbers: np.ndarray
) -> np.ndarray | MappedPixels:
    """The pixels of the images in these rows of a file; an empty array if there are none."""
    if not len(row_numbers):
        return np.empty((0, *image_shape), np.uint8)
    shape = (int(row_numbers.max()) + 1, *image_shape)
    return MappedPixels(np.memmap(path, np.uint8, "r", shape=shape), row_numbers)


def stored_arrays(pixels: np.ndarray | MappedPixels) -> dict[str, np.ndarray]:
    """Arrays from which `stored_pixels` in another process of this machine gets the pixels."""
    if not isinstance(pixels, MappedPixels):
        return {"pixels": pixels}
    path = np.array(os.fsencode(os.path.abspath(str(pixels.stored.filename))))
    return {"path": path, "shape": np.array(pixels.shape[1:]), "rows": pixels.row_numbers}


def stored_pixels(arrays: Mapping[str, np.ndarray]) -> np.ndarray | MappedPixels | None:
    """The pixels by `stored_arrays`, which may be among others; None if they are absent."""
    if "rows" not in arrays:
        return arrays.get("pixels")
    path = os.fsdecode(bytes(arrays["path"].item()))
    return map_pixels(path, tuple(arrays["shape"].tolist()), arrays["rows"])


class PixelRows:
    """The rows of one preprocessing, while this process has the lock of their folder."""

    def __init__(self, folder: str, image_shape: tuple[int, ...]):
        self.folder = folder
        self.image_shape = image_shape
        self.row_bytes = math.prod(image_shape)
        self.path = os.path.join(folder, ROWS)
        entries = np.empty(0, ENTRY)
        with contextlib.suppress(FileNotFoundError):
            entries = np.fromfile(os.path.join(folder, INDEX), ENTRY)
        self._checksums = array.array("I", entries["checksum"].tolist())
        digests = entries["digest"].tobytes()
        self._rows = {digests[32 * row : 32 * row + 32]: row for row in range(len(entries))}
        self._files: dict[str, int] = {}  # descriptors by name; the index is opened to write
        with contextlib.suppress(FileNotFoundError):
            self._files[ROWS] = os.open(self.path, os.O_RDONLY)
            # Rows without an entry are not overwritten, since a process may have mapped them.
            unknown = -(-os.stat(self.path).st_size // self.row_bytes) - len(entries)
            self._checksums.extend([0] * unknown)

    def close(self) -> None:
        """Closes the files."""
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files = {}

    def find(self, digest: bytes) -> int | None:
        """The row of an image by the digest of its file; None if it is absent or damaged."""
        row = self._rows.get(digest)
        if row is None or ROWS not in self._files:
            return None
        content = os.pread(self._files[ROWS], self.row_bytes, row * self.row_bytes)
        if len(content) == self.row_bytes and zlib.crc32(content) == self._checksums[row]:
            return row
        return None

    def append(self, digests: Sequence[bytes], pixels: np.ndarray) -> list[int]:
        """Appends the pixels of images, uint8 [n, height, width, channels]; returns their rows.

        Raises:
            InputError: the folder can't be written.
            RunError: no space is left.
        """
        if not digests:
            return []
        first = len(self._checksums)
        entries = np.empty(len(digests), ENTRY)
        entries["digest"] = np.frombuffer(b"".join(digests), "V32")
        entries["checksum"] = [zlib.crc32(image) for image in pixels]
        with one_line_errors(self.folder):
            if INDEX not in self._files:
                self.close()
                for name in (ROWS, INDEX):
                    path = os.path.join(self.folder, name)
                    self._files[name] = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            _write(self._files[ROWS], first * self.row_bytes, pixels)
            _write(self._files[INDEX], first * ENTRY.itemsize, entries)
        self._checksums.extend(entries["checksum"].tolist())
        rows = list(range(first, first + len(digests)))
        self._rows.update(zip(digests, rows, strict=True))
        return rows

    def pixels(self, rows: np.ndarray) -> np.ndarray | MappedPixels:
        """The pixels of these rows, int64 [images]."""
        return map_pixels(self.path, self.image_shape, rows)


class PixelCache:
    """The cache in a folder, which any number of processes may use.

    Args:
        folder: made if absent.

    Raises:
        InputError: a folder in a store.
    """

    def __init__(self, folder: str):
        if is_remote(folder):
            raise InputError(f"--cache_dir={folder}: must be on this machine")
        self.folder = folder

    @contextlib.contextmanager
    def rows(self, image_input: ImageInput) -> Iterator[PixelRows]:
        """The rows of images that `image_input` decodes. Another process waits until the end.

        Raises:
            InputError: the folder can't be written.
        """
        description = describe(image_input)
        key = hashlib.sha256(json.dumps(description).encode()).hexdigest()[:16]
        height, width = image_input.image_size
        name = f"pixels-{height}x{width}-{image_input.color}-{key}"
        folder = os.path.join(self.folder, name)
        with contextlib.ExitStack() as stack:
            with one_line_errors(self.folder):
                stack.enter_context(locked_cache(folder))
                if not os.path.exists(os.path.join(folder, DESCRIPTION)):
                    write_json(os.path.join(folder, DESCRIPTION), description)
                channels = 1 if image_input.color == "luminance" else 3
                stored = PixelRows(folder, (height, width, channels))
            stack.callback(stored.close)
            yield stored


@contextlib.contextmanager
def temporary_cache() -> Iterator[PixelCache]:
    """A cache whose folder is removed at the end. Pixels that are mapped stay readable."""
    with tempfile.TemporaryDirectory(prefix="covid_lm-") as folder:
        yield PixelCache(folder)


@contextlib.contextmanager
def run_cache(folder: str | None, model_dir: str) -> Iterator[PixelCache]:
    """The cache of a run: in `folder`, or below `model_dir` until the run is finished.

    A run that can be resumed leaves its cache, to continue from. Of a `model_dir` in a store the
    cache is temporary.
    """
    if folder is not None:
        yield PixelCache(folder)
        return
    if is_remote(model_dir):
        with temporary_cache() as cache:
            yield cache
        return
    own = os.path.join(model_dir, "cache")
    existed = os.path.exists(own)
    try:
        yield PixelCache(own)
    except (InputError, RunError) as error:
        if not existed and not getattr(error, "is_resumable", False):
            remove_tree(own)
        raise
    remove_tree(own)


def describe(image_input: ImageInput) -> dict:
    """Everything besides an image's file that determines its pixels."""
    return {
        "image_size": list(image_input.image_size),
        "color": image_input.color,
        "max_pixels": image_input.max_pixels,
        "decoder": decoder_digest(),
        "tensorflow": tf.__version__,
    }


@functools.cache
def decoder_digest() -> str:
    """A digest of the modules that decode images, which differs when one of them is changed."""
    (folder,) = layers.__path__
    paths = {path for name in ("image_*", "*_decode") for path in glob.glob(f"{folder}/{name}.py")}
    digest = hashlib.sha256()
    for path in sorted(paths):
        with open(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def _write(descriptor: int, position: int, content: np.ndarray) -> None:
    rest = np.ascontiguousarray(content).view(np.uint8).reshape(-1).data
    while rest:
        written = os.pwrite(descriptor, rest, position)
        rest, position = rest[written:], position + written
