"""Crops of images and a teacher's features of them, computed once and kept on disk.

A cache is a folder with `crops` (uint8) and `features` (float16), each one array, row after row,
and `checksums.json`: a CRC-32 of each file for every block of rows that is complete. Blocks are
written one after the other, so an interrupted process continues where it ended; a block whose
checksum differs is computed again.
"""

import dataclasses
import functools
import hashlib
import json
import math
import os
import zlib
from collections.abc import Callable, Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf
from sklearn.preprocessing import StandardScaler

from covid_lm.data.records import ImageRecord
from covid_lm.files import flush_to_disk, read_json, write_json
from covid_lm.layers.augmentation import Augmentation
from covid_lm.layers.image_input import ImageInput
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.pipeline.augmented import working_image_input
from covid_lm.pipeline.cache_folder import locked_cache, one_line_errors
from covid_lm.pipeline.decoded import decode_records
from covid_lm.pipeline.tokenized import (
    epoch_order,
    joined_epochs,
    mapped_batches,
    steps_per_epoch,
)

BLOCK_IMAGES = 32
FILES = {"crops": np.dtype(np.uint8), "features": np.dtype(np.float16)}
CHECKSUMS = "checksums.json"


@dataclasses.dataclass(frozen=True)
class CropPlan:
    """Which crops are made of the images, and how large.

    Attributes:
        records: the images, all of which can be decoded.
        image_input: of the student, whose size and colour the stored crops have.
        teacher_size: side of the crops that the teacher sees.
        crops: of each image.
        augmentation: arguments of `Augmentation`.
        seed: of the crops.
    """

    records: Sequence[ImageRecord]
    image_input: ImageInput
    teacher_size: int
    crops: int
    augmentation: dict
    seed: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the stored crops: [images * crops, height, width, channels]."""
        channels = 1 if self.image_input.color == "luminance" else 3
        return (len(self.records) * self.crops, *self.image_input.image_size, channels)

    def key(self, images: str, teacher: str) -> str:
        """A name of the cache that differs for every other content.

        Args:
            images, teacher: digests of the images and of the teacher's weights.
        """
        values = (self.shape, self.image_input.color, self.teacher_size, self.crops, self.seed)
        content = json.dumps([images, teacher, values, sorted(self.augmentation.items())])
        return f"targets-{hashlib.sha256(content.encode()).hexdigest()[:16]}"

    @functools.cached_property
    def working_input(self) -> ImageInput:
        """Decodes the images larger than the teacher's crops."""
        size = (self.teacher_size, self.teacher_size)
        return working_image_input(ImageInput(size, self.image_input.color))

    def cropping(self) -> Callable:
        """A function from pixels of `working_input` and seeds, as `Augmentation` takes them.

        It returns a crop of each image, in the student's size and in the teacher's.
        """
        augmentation = Augmentation((self.teacher_size,) * 2, **self.augmentation)
        shape = (None, *self.working_input.image_size, self.shape[-1])
        signature = (tf.TensorSpec(shape, tf.uint8), tf.TensorSpec((None, 2), tf.int32))

        def crop(pixels: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            seen = augmentation(pixels, seeds)
            return shrink(seen, self.image_input.image_size), seen

        return tf.function(crop, signature, autograph=False)

    def block(self, number: int, crop: Callable, teacher: keras.Model) -> dict[str, np.ndarray]:
        """The rows of a block: for each of its images, all crops one after the other.

        Args:
            crop: as from `cropping`.
            teacher: pixels, uint8 [batch, teacher_size, teacher_size, channels], to features.
        """
        first = number * BLOCK_IMAGES
        records = self.records[first : first + BLOCK_IMAGES]
        pixels = tf.constant(decode_records(records, self.working_input).pixels[:])
        seeds = np.stack(
            [
                np.random.default_rng([self.seed, first + place]).integers(
                    2**31, size=(self.crops, 2), dtype=np.int32
                )
                for place in range(len(records))
            ]
        )
        parts: dict[str, list] = {"crops": [], "features": []}
        for place in range(self.crops):
            crops, seen = crop(pixels, tf.constant(seeds[:, place]))
            parts["crops"].append(crops.numpy())
            parts["features"].append(teacher.predict_on_batch(seen.numpy()).astype(np.float16))
        return {
            name: np.stack(arrays, axis=1).reshape(-1, *arrays[0].shape[1:])
            for name, arrays in parts.items()
        }


def shrink(pixels: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Resizes a batch, uint8 [batch, height, width, channels], with the weights of `ImageInput`."""
    if tuple(pixels.shape[1:3]) == size:
        return pixels
    seeds = tf.zeros([tf.shape(pixels)[0], 2], tf.int32)
    return Augmentation(size)(pixels, seeds)


@dataclasses.dataclass(frozen=True)
class TeacherTargets:
    """Stored crops and features, as a `BatchSource` of (tokens, standardized features).

    Attributes:
        crops, features: memory-mapped, uint8 [rows, height, width, channels] and float16
            [rows, width of the features].
        filenames: the images' names as bytes, object [images].
        preprocessor: makes tokens of the crops.
        mean, deviation: of each feature over all rows, float32 [width].
    """

    crops: np.ndarray
    features: np.ndarray
    filenames: np.ndarray
    preprocessor: Preprocessor
    mean: np.ndarray
    deviation: np.ndarray

    def standardize(self, features: np.ndarray) -> np.ndarray:
        """Features with mean 0 and variance 1 over the stored rows; constant ones are 0 there."""
        return ((features.astype(np.float32) - self.mean) / self.deviation).astype(np.float32)

    def steps(self, batch_size: int) -> int:
        """Number of batches in an epoch."""
        return steps_per_epoch(len(self.crops), batch_size)

    def epochs(
        self, batch_size: int, seed: int, epochs: range, first_step: int = 0
    ) -> tf.data.Dataset:
        """See `BatchSource`; batches of (inputs, features) of all crops."""

        def rows(epoch: int) -> tuple[np.ndarray, ...]:
            return (epoch_order(len(self.crops), batch_size, seed, epoch),)

        return mapped_batches(joined_epochs(rows, epochs, first_step), self._prepare)

    @functools.cached_property
    def _prepare(self) -> Callable:
        """A function from rows [batch] to inputs and targets; traced once."""
        crops_per_image = len(self.crops) // len(self.filenames)
        shapes = (self.crops.shape[1:], self.features.shape[1:])

        def read(rows: np.ndarray) -> tuple:
            names = self.filenames[rows // crops_per_image]
            return self.crops[rows], self.standardize(self.features[rows]), names

        def prepare(rows: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            types = (tf.uint8, tf.float32, tf.string)
            pixels, targets, names = tf.numpy_function(read, [rows], types)
            pixels.set_shape([*rows.shape, *shapes[0]])
            targets.set_shape([*rows.shape, *shapes[1]])
            names.set_shape(rows.shape)
            return self.preprocessor.tokenize(pixels, names), targets

        return tf.function(prepare, autograph=False)


def cached_targets(
    folder: str,
    plan: CropPlan,
    teacher: keras.Model,
    width: int,
    preprocessor: Preprocessor,
    filenames: np.ndarray,
) -> TeacherTargets:
    """Reads the cache in `folder`, after computing what it lacks.

    Args:
        folder: named by `CropPlan.key`; made if absent. Another process with the same folder
            waits until this one has finished.
        width: of the teacher's features.

    Raises:
        InputError, RunError: the cache can't be written.
    """
    with one_line_errors(folder), locked_cache(folder):
        _complete(folder, plan, teacher, width)
    rows = plan.shape[0]
    crops = np.memmap(os.path.join(folder, "crops"), np.uint8, "r", shape=plan.shape)
    features = np.memmap(os.path.join(folder, "features"), np.float16, "r", shape=(rows, width))
    scaler = StandardScaler()
    for start in range(0, rows, 4096):
        scaler.partial_fit(features[start : start + 4096].astype(np.float64))
    mean, deviation = (x.astype(np.float32) for x in (scaler.mean_, scaler.scale_))
    return TeacherTargets(crops, features, filenames, preprocessor, mean, deviation)


def _complete(folder: str, plan: CropPlan, teacher: keras.Model, width: int) -> None:
    """Computes all blocks that are absent or damaged."""
    row_bytes = {"crops": math.prod(plan.shape[1:]), "features": 2 * width}
    blocks = steps_per_epoch(len(plan.records), BLOCK_IMAGES)
    checksums, crop = _read_checksums(folder), plan.cropping()
    missing = sorted(set(range(blocks)) - set(_valid_blocks(folder, plan, row_bytes, checksums)))
    for done, number in enumerate(missing, 1):
        arrays = plan.block(number, crop, teacher)
        start = number * BLOCK_IMAGES * plan.crops
        for name, array in arrays.items():
            path = os.path.join(folder, name)
            with open(path, "r+b" if os.path.exists(path) else "w+b") as file:
                file.seek(start * row_bytes[name])
                file.write(np.ascontiguousarray(array).tobytes())
            flush_to_disk(path)
        checksums[str(number)] = {name: zlib.crc32(x.tobytes()) for name, x in arrays.items()}
        write_json(os.path.join(folder, CHECKSUMS), checksums)
        if done % math.ceil(len(missing) / 10) == 0 or done == len(missing):
            print(f"teacher: {done} of {len(missing)} blocks of {BLOCK_IMAGES} images", flush=True)


def _read_checksums(folder: str) -> dict[str, dict[str, int]]:
    try:
        return read_json(os.path.join(folder, CHECKSUMS))
    except OSError:
        return {}


def _valid_blocks(
    folder: str, plan: CropPlan, row_bytes: dict[str, int], checksums: dict
) -> Iterator[int]:
    """The blocks whose rows have their checksums."""
    if not all(os.path.isfile(os.path.join(folder, name)) for name in row_bytes):
        return
    for number, first in enumerate(range(0, len(plan.records), BLOCK_IMAGES)):
        rows = min(BLOCK_IMAGES, len(plan.records) - first) * plan.crops
        found = {}
        for name, size in row_bytes.items():
            with open(os.path.join(folder, name), "rb") as file:
                file.seek(first * plan.crops * size)
                found[name] = zlib.crc32(file.read(rows * size))
        if found == checksums.get(str(number)):
            yield number
