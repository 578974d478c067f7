"""Every file read and decoded once; what the checks need is kept, the pixels are not."""

import concurrent.futures
import dataclasses
import hashlib
import io
import math
import warnings
from collections.abc import Sequence

import numpy as np
import tqdm
from PIL import Image

from covid_lm.audit.features import container as container_features
from covid_lm.audit.features import pixels as pixel_features
from covid_lm.data.preview import gray_levels, gray_thumbnail
from covid_lm.data.records import ImageRecord

MAX_PIXELS = 64_000_000
THUMBNAIL_SIDE = 32
_THREADS = 2


@dataclasses.dataclass(frozen=True)
class Observation:
    """What was seen of one file.

    Attributes:
        record: the file's record.
        digest: SHA-256 of its bytes, hexadecimal.
        num_bytes: its size.
        width, height: in pixels.
        format, mode, bit_depth: of the picture inside (Pillow's names).
        first_bytes, metadata: facts as text (`container_features`).
        intensity, border, compression: features by name (`pixel_features`).
        thumbnail: uint8 [32, 32].
    """

    record: ImageRecord
    digest: str
    num_bytes: int
    width: int
    height: int
    format: str
    mode: str
    bit_depth: int
    first_bytes: tuple[str, ...]
    metadata: tuple[str, ...]
    intensity: dict[str, float]
    border: dict[str, float]
    compression: dict[str, float]
    thumbnail: np.ndarray = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """A file that holds no picture that could be decoded, and why."""

    record: ImageRecord
    reason: str


def observe(record: ImageRecord) -> Observation | Unreadable:
    """Reads and decodes one file; any failure is an answer, not an error."""
    try:
        payload = record.read()
        if not payload:
            return Unreadable(record, "empty file")
        return _observe_payload(record, payload)
    except Exception as error:  # decoders raise what they like on bytes that are no picture
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "not an image"
        return Unreadable(record, reason)


def _observe_payload(record: ImageRecord, payload: bytes) -> Observation | Unreadable:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes are checked here, and damaged metadata is no news
        image = Image.open(io.BytesIO(payload))
        if math.prod(image.size) > MAX_PIXELS:
            return Unreadable(record, f"{image.width} x {image.height} pixels, too many to decode")
        mode = image.mode  # of the file: loading may change it
        image.load()
        metadata = container_features.metadata_facts(image)
    gray = gray_levels(image)
    return Observation(
        record=record,
        digest=hashlib.sha256(payload).hexdigest(),
        num_bytes=len(payload),
        width=image.width,
        height=image.height,
        format=container_features.image_format(image),
        mode=mode,
        bit_depth=container_features.bit_depth(payload, mode),
        first_bytes=container_features.first_bytes(payload),
        metadata=metadata,
        intensity=pixel_features.intensity_features(image, gray),
        border=pixel_features.border_features(gray),
        compression=pixel_features.compression_features(gray),
        thumbnail=gray_thumbnail(gray, THUMBNAIL_SIDE),
    )


def observe_all(
    records: Sequence[ImageRecord], progress: bool = False
) -> tuple[list[Observation], list[Unreadable]]:
    """Reads every file, in the order of the records.

    Args:
        records: what to read.
        progress: whether to show a bar on standard error.

    Returns:
        What was seen, and the files that could not be read.
    """
    with concurrent.futures.ThreadPoolExecutor(_THREADS) as pool:
        seen = list(
            tqdm.tqdm(
                pool.map(observe, records),
                total=len(records),
                desc="reading images",
                unit="image",
                disable=not progress,
            )
        )
    readable = [item for item in seen if isinstance(item, Observation)]
    return readable, [item for item in seen if isinstance(item, Unreadable)]
