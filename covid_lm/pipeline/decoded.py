"""Records decoded to pixels, once and to a cache, to be tokenized under any metadata policy."""

import array
import collections
import contextlib
import dataclasses
import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tqdm

from covid_lm.data.records import ImageRecord, encoded_filename, read_image, read_problem
from covid_lm.data.unlabelled import content_digest
from covid_lm.errors import InputError
from covid_lm.layers.image_input import ImageInput
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.pipeline.pixel_cache import MappedPixels, PixelCache, PixelRows, temporary_cache
from covid_lm.pipeline.tokenized import TokenizedRecords

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
        pixels: uint8 [images, height, width, channels], memory-mapped if they are of a cache.
        records: the images' records, in the same order.
        skipped: the images that could not be decoded, not among the above.
        left_out: records of held-out files, not among the above.
    """

    pixels: np.ndarray | MappedPixels
    records: tuple[ImageRecord, ...]
    skipped: tuple[SkippedImage, ...] = ()
    left_out: tuple[ImageRecord, ...] = ()

    @property
    def summary(self) -> str:
        """Number of images and a digest of pixels, names and labels, as "24, 0123456789abcdef"."""
        digest = hashlib.sha256()
        for start in range(0, len(self.records), CHUNK_SIZE):
            digest.update(np.ascontiguousarray(self.pixels[start : start + CHUNK_SIZE]).data)
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
        records = tuple(self.records[i] for i in indices)
        if isinstance(self.pixels, MappedPixels):
            return DecodedRecords(self.pixels.select(indices), records)
        return DecodedRecords(self.pixels[indices], records)

    def chunks(self) -> "Iterator[DecodedRecords]":
        """The images in parts of at most CHUNK_SIZE, their pixels in memory."""
        for start in range(0, len(self.records), CHUNK_SIZE):
            part = slice(start, start + CHUNK_SIZE)
            yield DecodedRecords(np.asarray(self.pixels[part]), self.records[part])

    def tokenize(self, preprocessor: Preprocessor) -> TokenizedRecords:
        """Token ids under the preprocessor's policy."""
        filenames, parts = self.filenames, []
        for start in range(0, len(filenames), TOKENIZED_TOGETHER):
            rows = slice(start, start + TOKENIZED_TOGETHER)
            parts.append(preprocessor.tokenize(self.pixels[rows], filenames[rows]))
        tokens = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        return TokenizedRecords(tokens, self.labels)


def raw_batches(records: Sequence[ImageRecord], batch_size: int) -> tf.data.Dataset:
    """Batches of (image_bytes, filename), both string [batch], in the order of the records."""
    signature = (tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.string))
    return tf.data.Dataset.from_generator(
        lambda: ((read_image(record), encoded_filename(record)) for record in records),
        output_signature=signature,
    ).batch(batch_size)


def decode_records(
    records: Sequence[ImageRecord],
    image_input: ImageInput,
    skip_invalid: bool = False,
    cache: PixelCache | None = None,
) -> DecodedRecords:
    """As `decode_valid`.

    Raises:
        InputError: no images, or one that can't be decoded while `skip_invalid` is false.
    """
    if not records:
        raise InputError("no images in this split")
    decoded = decode_valid(records, image_input, cache)
    check_valid([decoded], skip_invalid)
    return decoded


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
    records: Sequence[ImageRecord],
    image_input: ImageInput,
    cache: PixelCache | None = None,
    held_out: Collection[bytes] = (),
) -> DecodedRecords:
    """Reads every image, and decodes those that can be decoded and are not in the cache.

    Args:
        cache: receives the pixels; by default a temporary one.
        held_out: `content_digest` of the files to leave out.

    Raises:
        InputError, RunError: the cache can't be written.
    """
    kept: list[ImageRecord] = []
    rows = array.array("q")
    skipped: list[SkippedImage] = []
    left_out: list[ImageRecord] = []
    with contextlib.ExitStack() as stack:
        cache = cache or stack.enter_context(temporary_cache())
        stored = stack.enter_context(cache.rows(image_input))
        bar = {"desc": "reading images", "unit": "image", "disable": None, "delay": 1}
        progress = stack.enter_context(tqdm.tqdm(total=len(records), **bar))
        for start in range(0, len(records), DECODED_TOGETHER):
            batch = records[start : start + DECODED_TOGETHER]
            contents = [read_image(record) for record in batch]
            digests = [content_digest(content) for content in contents]
            found = _cached_rows(stored, image_input, digests, contents, held_out)
            for record, digest in zip(batch, digests, strict=True):
                if digest in held_out:
                    left_out.append(record)
                elif isinstance(row := found[digest], int):
                    kept.append(record)
                    rows.append(row)
                else:
                    skipped.append(SkippedImage(record, read_problem(record) or row))
            progress.update(len(batch))
        pixels = stored.pixels(np.array(rows, np.int64))
    return DecodedRecords(pixels, tuple(kept), tuple(skipped), tuple(left_out))


def _cached_rows(
    stored: PixelRows,
    image_input: ImageInput,
    digests: Sequence[bytes],
    contents: Sequence[bytes],
    held_out: Collection[bytes],
) -> dict[bytes, int | str]:
    """For each file that isn't held out, its row, or the reason why it can't be decoded.

    Those that have no row are decoded and appended.
    """
    found: dict[bytes, int | str] = {}
    missing: dict[bytes, bytes] = {}
    for digest, content in zip(digests, contents, strict=True):
        row = None if digest in held_out else stored.find(digest)
        if row is not None:
            found[digest] = row
        elif digest not in held_out:
            missing[digest] = content
    if missing:
        # Called batch by batch: a mapped data set would optimize the layer's graph again each time.
        image = image_input(tf.constant([*missing.values()]))
        valid, pixels = image["valid"].numpy(), image["pixels"].numpy()
        decodable = [*missing]
        if not valid.all():
            reasons = [reason.decode() for reason in image["reason"].numpy()]
            found |= zip(missing, reasons, strict=True)
            decodable = [digest for digest, ok in zip(missing, valid, strict=True) if ok]
            pixels = pixels[valid]
        found |= zip(decodable, stored.append(decodable, pixels), strict=True)
    return found
