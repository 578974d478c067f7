"""Records to token ids, once: images are decoded a single time, not once an epoch."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf

from covid_lm.data.records import ImageRecord, encoded_filename, read_image
from covid_lm.errors import InputError
from covid_lm.layers.image_input import ImageInput
from covid_lm.models.preprocessor import Preprocessor

Decode = Callable[[tf.Tensor], dict[str, tf.Tensor]]  # of a preprocessor, or an `ImageInput`
FORMATS = "PNG, JPEG, BMP, GIF or WebP"


def steps_an_epoch(count: int, batch_size: int) -> int:
    """Batches in an epoch of `count` images."""
    return math.ceil(count / batch_size)


def epoch_order(count: int, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """The images of each batch of an epoch, int [steps, batch_size], drawn from seed and epoch.

    The last batch is filled up with the images that the epoch began with: each image comes once,
    and fewer than `batch_size` come twice. One size is one compilation, and equal shares on every
    device.
    """
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return np.resize(order, (steps_an_epoch(count, batch_size), batch_size))


@dataclasses.dataclass(frozen=True)
class TokenizedRecords:
    """Token ids of a split, in memory.

    Attributes:
        tokens: `token_ids`, `segment_ids` and `padding_mask`, int32 [images, length].
        labels: int32 [images].
    """

    tokens: dict[str, np.ndarray]
    labels: np.ndarray

    def steps(self, batch_size: int) -> int:
        """Batches in an epoch."""
        return steps_an_epoch(len(self.labels), batch_size)

    def epoch(
        self,
        batch_size: int,
        seed: int,
        epoch: int,
        first_step: int = 0,
        process_id: int = 0,
        num_processes: int = 1,
    ) -> tf.data.Dataset:
        """What is left of an epoch, as batches of (tokens, labels), all of one size.

        The order is that of `epoch_order`, so that any step can be gone back to.

        Of several processes, each gets its own share of every batch; put side by side, the shares
        are the batch that one process gets. `batch_size`, of all of them, is a multiple of
        `num_processes`.
        """
        order = epoch_order(len(self.labels), batch_size, seed, epoch)[first_step:]
        order = np.split(order, num_processes, axis=1)[process_id]
        return self._gathered(order).prefetch(tf.data.AUTOTUNE)

    def once(self, batch_size: int, process_id: int = 0, num_processes: int = 1) -> tf.data.Dataset:
        """The whole split in its order, as batches of (tokens, labels, weights), all of one size.

        The weights, float32 [batch], are 1, and 0 for the images that fill up the last batch.
        Shares of several processes are those of `epoch`.
        """
        count = len(self.labels)
        shape = (self.steps(batch_size), batch_size)
        all_rows = np.resize(np.arange(count), shape)
        counted = (np.arange(all_rows.size) < count).astype(np.float32).reshape(shape)
        rows, weights = (
            np.split(array, num_processes, axis=1)[process_id] for array in (all_rows, counted)
        )
        batches = tf.data.Dataset.zip(
            self._gathered(rows), tf.data.Dataset.from_tensor_slices(weights)
        )
        return batches.map(lambda batch, weight: (*batch, weight)).prefetch(tf.data.AUTOTUNE)

    def _gathered(self, order: np.ndarray) -> tf.data.Dataset:
        """Batches of (tokens, labels) with the images of each row of `order` [steps, batch]."""
        with tf.device("CPU"):
            tokens = {key: tf.constant(value) for key, value in self.tokens.items()}
            labels = tf.constant(self.labels)
        return tf.data.Dataset.from_tensor_slices(order).map(
            lambda rows: (
                {key: tf.gather(value, rows) for key, value in tokens.items()},
                tf.gather(labels, rows),
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
        )


@dataclasses.dataclass(frozen=True)
class DecodedRecords:
    """The resized pixels of a split, in memory, to be tokenized under any metadata policy.

    Attributes:
        pixels: uint8 [images, height, width, channels]; `PixelsOnDemand` where few are looked at.
        records: the images' records, in the same order.
        skipped: records whose image could not be decoded, left out of the above.
    """

    pixels: "np.ndarray | PixelsOnDemand"
    records: tuple[ImageRecord, ...]
    skipped: tuple[ImageRecord, ...] = ()

    @property
    def digest(self) -> str:
        """The same for the same pixels, names and labels in the same order, else another."""
        digest = hashlib.sha256(np.ascontiguousarray(self.pixels).data)
        for record in self.records:
            digest.update(b"%d %s\0" % (record.label, encoded_filename(record)))
        return digest.hexdigest()[:16]

    @property
    def labels(self) -> np.ndarray:
        """int32 [images]."""
        return np.array([record.label for record in self.records], np.int32)

    @property
    def filenames(self) -> np.ndarray:
        """The names as bytes, object [images]."""
        return np.array([encoded_filename(record) for record in self.records], object)

    def rows(self, indices: np.ndarray) -> "DecodedRecords":
        """The images at these places, int [n], in their order."""
        return DecodedRecords(
            np.asarray(self.pixels)[indices], tuple(self.records[i] for i in indices)
        )

    def tokenize(self, preprocessor: Preprocessor, batch_size: int = 256) -> TokenizedRecords:
        """Token ids under the preprocessor's policy."""
        pixels, filenames, parts = np.asarray(self.pixels), self.filenames, []
        for start in range(0, len(pixels), batch_size):
            rows = slice(start, start + batch_size)
            parts.append(preprocessor.tokenize(pixels[rows], filenames[rows]))
        return TokenizedRecords(
            tokens={key: np.concatenate([part[key] for part in parts]) for key in parts[0]},
            labels=self.labels,
        )


class PixelsOnDemand:
    """The pixels of records that can be decoded, each read when it is asked for.

    Args:
        records: of the images.
        image_input: decodes and resizes them.
    """

    def __init__(self, records: Sequence[ImageRecord], image_input: ImageInput):
        self.records = records
        self.image_input = image_input
        channels = 1 if image_input.color == "luminance" else 3
        self.shape = (len(records), *image_input.image_size, channels)

    def __getitem__(self, index: int) -> np.ndarray:
        """uint8 [height, width, channels]."""
        return decode_records([self.records[index]], self.image_input).pixels[0]


def raw_batches(records: Sequence[ImageRecord], batch_size: int) -> tf.data.Dataset:
    """Batches of (image_bytes, filename), both string [batch], in the order of the records."""

    def generate() -> Iterator[tuple[bytes, bytes]]:
        for record in records:
            yield read_image(record), encoded_filename(record)

    signature = (tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.string))
    return tf.data.Dataset.from_generator(generate, output_signature=signature).batch(batch_size)


def decode_records(
    records: Sequence[ImageRecord], decode: Decode, skip_invalid: bool = False
) -> DecodedRecords:
    """Reads and decodes every image.

    Raises:
        InputError: no images, or one that can't be decoded while `skip_invalid` is false.
    """
    if not records:
        raise InputError("no images in this split")
    decoded = _decode(records, decode)
    _check_skipped(decoded.skipped, skip_invalid)
    if not decoded.records:
        raise InputError(f"{records[0].path}: can't be decoded, nor can any other image")
    return decoded


def decoded_chunks(
    records: Sequence[ImageRecord],
    decode: Decode,
    skip_invalid: bool = False,
    chunk_size: int = 512,
) -> Iterator[DecodedRecords]:
    """As `decode_records`, at most `chunk_size` images at a time, for splits of any size.

    A chunk may have no image left.
    """
    for start in range(0, len(records), chunk_size):
        decoded = _decode(records[start : start + chunk_size], decode)
        _check_skipped(decoded.skipped, skip_invalid)
        yield decoded


def _decode(records: Sequence[ImageRecord], decode: Decode, batch_size: int = 32) -> DecodedRecords:
    # Called batch by batch: a mapped data set would optimize the layer's graph anew each time.
    parts = []
    for start in range(0, len(records), batch_size):
        encoded = [read_image(record) for record in records[start : start + batch_size]]
        parts.append(decode(tf.constant(encoded)))
    valid = np.concatenate([part["valid"] for part in parts])
    return DecodedRecords(
        pixels=np.concatenate([part["pixels"] for part in parts])[valid],
        records=tuple(record for record, ok in zip(records, valid, strict=True) if ok),
        skipped=tuple(record for record, ok in zip(records, valid, strict=True) if not ok),
    )


def _check_skipped(skipped: Sequence[ImageRecord], skip_invalid: bool) -> None:
    if skipped and not skip_invalid:
        raise InputError(
            f"{skipped[0].path}: can't be decoded as {FORMATS} "
            f"({len(skipped)} such file(s)); repair or remove it, or pass --skip_invalid"
        )
