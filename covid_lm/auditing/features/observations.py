"""Observations: the features of every file, which is read and decoded once."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import io
import math
import os
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import tqdm
from PIL import Image

from covid_lm.auditing.features import container as container_features
from covid_lm.auditing.features import history as history_features
from covid_lm.auditing.features import layout as layout_features
from covid_lm.auditing.features import pixels as pixel_features
from covid_lm.data.preview import gray_levels, gray_thumbnail, upright
from covid_lm.data.records import ImageRecord
from covid_lm.environment import import_tensorflow
from covid_lm.errors import reason

MAX_PIXELS = 64_000_000
THUMBNAIL_SIDE = 32
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP")  # a model reads no others


@dataclasses.dataclass(frozen=True)
class Observation:
    """Features of one file; its pixels are not kept.

    Attributes:
        record: the file's record.
        digest: SHA-256 of its bytes, hexadecimal.
        num_bytes: the file's size.
        width, height: in pixels.
        format, mode, bit_depth: of the image (Pillow's names).
        first_bytes, metadata: facts as text, see `features.container`.
        encoder: facts as text, see `features.container`.
        intensity, border, compression, colour: features by name, see `features.pixels`.
        marks, padding: features by name, see `features.layout`.
        history: features by name, see `features.history`.
        thumbnail: gray levels, uint8 [32, 32].
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
    encoder: tuple[str, ...]
    intensity: dict[str, float]
    border: dict[str, float]
    compression: dict[str, float]
    colour: dict[str, float]
    marks: dict[str, float]
    padding: dict[str, float]
    history: dict[str, float]
    thumbnail: np.ndarray = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """A file that could not be decoded, with the reason."""

    record: ImageRecord
    reason: str


def observe(record: ImageRecord) -> Observation | Unreadable:
    """Reads and decodes one file; a failure is returned, never raised."""
    try:
        payload = record.read()
    except Exception as error:  # readers of folders and archives have their own kinds
        return Unreadable(record, reason(error))
    try:
        return _observe_payload(record, payload)
    except Exception:  # decoders raise errors of any type on damaged files
        return Unreadable(record, _reason_of()(payload))


@functools.cache
def _reason_of() -> Callable[[bytes], str]:
    """Function from a file that Pillow can't read to the reason that a model would give."""
    import_tensorflow()  # only if there is such a file, because it takes seconds
    import tensorflow as tf

    from covid_lm.layers.image_input import ImageInput
    from covid_lm.layers.image_reason import DAMAGED

    layer = ImageInput(1)
    return lambda payload: layer(tf.constant([payload]))["reason"][0].numpy().decode() or DAMAGED


def _observe_payload(record: ImageRecord, payload: bytes) -> Observation | Unreadable:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sizes are checked here; damaged metadata is harmless
        image = Image.open(io.BytesIO(payload), formats=FORMATS)
        if math.prod(image.size) > MAX_PIXELS:
            return Unreadable(record, _reason_of()(payload))
        mode = image.mode  # before loading, which may change it
        image.load()
        metadata = container_features.metadata_facts(image)
    gray = gray_levels(upright(image))
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
        encoder=container_features.encoder_facts(payload, image),
        intensity=pixel_features.intensity_features(image, gray),
        border=pixel_features.border_features(gray),
        compression=pixel_features.compression_features(gray),
        colour=pixel_features.colour_features(image),
        marks=layout_features.mark_features(gray),
        padding=layout_features.padding_features(gray),
        history=history_features.history_features(gray),
        thumbnail=gray_thumbnail(gray, THUMBNAIL_SIDE),
    )


def observe_all(
    records: Sequence[ImageRecord], progress: bool = False
) -> tuple[list[Observation], list[Unreadable]]:
    """Reads all files in parallel, with a progress bar on standard error if wanted.

    Returns:
        Observations of the readable files, and the unreadable files, in the order of the records.
    """
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        bar = {"desc": "reading images", "unit": "image", "disable": not progress}
        seen = list(tqdm.tqdm(pool.map(observe, records), total=len(records), **bar))
    readable = [item for item in seen if isinstance(item, Observation)]
    return readable, [item for item in seen if isinstance(item, Unreadable)]
