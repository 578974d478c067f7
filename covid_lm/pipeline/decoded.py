"""Records decoded to pixels, once and in memory, to be tokenized under any metadata policy."""

import collections
import dataclasses
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from covid_lm.data.records import ImageRecord, encoded_filename, read_image, read_problem
from covid_lm.data.unlabelled import content_digest
from covid_lm.errors import InputError
from covid_lm.layers.image_input import ImageInput
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.pipeline.tokenized import TokenizedRecords

Decode = Callable[[tf.Tensor], dict[str, tf.Tensor]]  # of a preprocessor, or an `ImageInput`
KEPT_BYTES = 2**28  # of pixels: those of a larger evaluated split are decoded when needed
CHUNK_SIZE = 512  # images held at a time, of splits of any size
DECODED_TOGETHER, TOKENIZED_TOGETHER = 32, 256  # images in one call of a layer


class SkippedImage(NamedTuple):
    """A record whose image is not valid, and the reason."""

    record: ImageRecord
    reason: str


@dataclasses.dataclass(frozen=True)
class DecodedRecords:
    """The resized pixels of a split.

    Attributes:
        pixels: uint8 [images, height, width, channels]; `PixelsOnDemand` where few are read.
        records: the images' records, in the same order.
        skipped: the images that could not be decoded, not among the above.
        left_out: records of held-out files, not among the above.
    """

    pixels: "np.ndarray | PixelsOnDemand"
    records: tuple[ImageRecord, ...]
    skipped: tuple[SkippedImage, ...] = ()
    left_out: tuple[ImageRecord, ...] = ()

    @property
    def summary(self) -> str:
        """Number of images and a digest of pixels, names and labels, as "24, 0123456789abcdef"."""
        digest = hashlib.sha256(np.ascontiguousarray(self.pixels).data)
        for record in self.records:
            digest.update(b"%d %s\0" % (record.label, encoded_filename(record)))
        return f"{len(self.records)}, {digest.hexdigest()[:16]}"

    @property
    def labels(self) -> np.ndarray:
        """int32 [images]."""
        return np.array([record.label for record in self.records], np.int32)

    @property
    def filenames(self) -> np.ndarray:
        """The names as bytes, object [images]."""
        return np.array([encoded_filename(record) for record in self.records], object)

    def rows(self, indices: np.ndarray) -> "DecodedRecords":
        """The images with these indices, int [n], in their order."""
        return DecodedRecords(
            np.asarray(self.pixels)[indices], tuple(self.records[i] for i in indices)
        )

    def chunks(self) -> "Iterator[DecodedRecords]":
        """The images in parts, as from `decoded_chunks`; the first has all `skipped` images."""
        for start in range(0, len(self.records), CHUNK_SIZE):
            part = self.rows(np.arange(len(self.records))[start : start + CHUNK_SIZE])
            yield dataclasses.replace(part, skipped=() if start else self.skipped)

    def tokenize(self, preprocessor: Preprocessor) -> TokenizedRecords:
        """Token ids under the preprocessor's policy."""
        pixels, filenames, parts = np.asarray(self.pixels), self.filenames, []
        for start in range(0, len(pixels), TOKENIZED_TOGETHER):
            rows = slice(start, start + TOKENIZED_TOGETHER)
            parts.append(preprocessor.tokenize(pixels[rows], filenames[rows]))
        tokens = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        return TokenizedRecords(tokens, self.labels)


class PixelsOnDemand:
    """The pixels of records that can be decoded, each decoded when it is indexed."""

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
    signature = (tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.string))
    return tf.data.Dataset.from_generator(
        lambda: ((read_image(record), encoded_filename(record)) for record in records),
        output_signature=signature,
    ).batch(batch_size)


def decode_records(
    records: Sequence[ImageRecord],
    decode: Decode,
    skip_invalid: bool = False,
    held_out: Collection[bytes] = (),
) -> DecodedRecords:
    """As `decode_valid`.

    Raises:
        InputError: no images, or one that can't be decoded while `skip_invalid` is false.
    """
    if not records:
        raise InputError("no images in this split")
    decoded = decode_valid(records, decode, held_out)
    check_valid([decoded], skip_invalid)
    return decoded


def decoded_chunks(
    records: Sequence[ImageRecord],
    decode: Decode,
    skip_invalid: bool = False,
    chunk_size: int = CHUNK_SIZE,
) -> Iterator[DecodedRecords]:
    """As `decode_records`, in chunks of at most `chunk_size` images, each of which may be empty.

    After an image that makes it raise, the following ones are only counted.
    """
    skipped: list[SkippedImage] = []
    for start in range(0, len(records), chunk_size):
        chunk = decode_valid(records[start : start + chunk_size], decode)
        skipped += chunk.skipped
        if skip_invalid or not skipped:
            yield chunk
    _refuse_skipped(skipped, skip_invalid)


def check_valid(splits: Iterable[DecodedRecords], skip_invalid: bool) -> None:
    """Raises InputError for images that can't be decoded, unless they are to be skipped.

    A split without any image that can be decoded is refused in any case.
    """
    parts = list(splits)
    _refuse_skipped([image for part in parts for image in part.skipped], skip_invalid)
    for part in parts:
        if part.skipped and not part.records:
            first = part.skipped[0]
            raise InputError(
                f"{first.record.path}: {first.reason}; no other image can be decoded either"
            )


def _refuse_skipped(skipped: Sequence[SkippedImage], skip_invalid: bool) -> None:
    """Raises InputError that names the first of these images, unless they are to be skipped."""
    if skipped and not skip_invalid:
        first, them = skipped[0], "it"
        problem = first.reason
        if len(skipped) > 1:
            problem, them = f"{first.reason} ({count_by_reason(skipped)})", "them"
        raise InputError(
            f"{first.record.path}: {problem}; repair or remove {them}, or pass --skip_invalid"
        )


def count_by_reason(skipped: Sequence[SkippedImage]) -> str:
    """A text such as "in all 3 can't be decoded: 2 empty, 1 too many pixels"."""
    kinds = collections.Counter(
        reason.partition(":")[0] if reason.startswith("too many") else reason
        for _, reason in skipped
    )
    counts = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    return f"in all {len(skipped)} can't be decoded: {counts}"


def decode_valid(
    records: Sequence[ImageRecord], decode: Decode, held_out: Collection[bytes] = ()
) -> DecodedRecords:
    """Reads every image, and decodes those that can be decoded.

    Args:
        held_out: `content_digest` of the files to leave out.
    """
    # Called batch by batch: a mapped data set would optimize the layer's graph again each time.
    kept: list[ImageRecord] = []
    skipped: list[SkippedImage] = []
    left_out: list[ImageRecord] = []
    parts = []
    for start in range(0, len(records), DECODED_TOGETHER):
        batch, contents = [], []
        for record in records[start : start + DECODED_TOGETHER]:
            content = read_image(record)
            if held_out and content_digest(content) in held_out:
                left_out.append(record)
            else:
                batch.append(record)
                contents.append(content)
        if not batch:
            continue
        image = decode(tf.constant(contents))
        valid = image["valid"].numpy()
        parts.append(image["pixels"].numpy()[valid])
        for record, ok, reason in zip(batch, valid, image["reason"].numpy(), strict=True):
            if ok:
                kept.append(record)
            else:
                skipped.append(SkippedImage(record, read_problem(record) or reason.decode()))
    pixels = np.concatenate(parts) if parts else np.empty(0, np.uint8)
    return DecodedRecords(pixels, tuple(kept), tuple(skipped), tuple(left_out))
