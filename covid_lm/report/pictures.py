"""Pictures of what a model reads and of what its answers are based on, as data URIs."""

import io

import numpy as np
from PIL import Image

from covid_lm.data.preview import thumbnail
from covid_lm.data.records import ImageRecord, read_image
from covid_lm.html_page import data_uri

THUMBNAIL_SIDE = 200
FOR = (255, 150, 20)
AGAINST = (70, 150, 255)
DARK = 0.15  # share of its luminance that a pixel keeps if the model can't see it


def shown_image(record: ImageRecord, pixels: np.ndarray) -> str:
    """A thumbnail of the image file, or the model's `pixels` if Pillow can't read the file."""
    jpeg = thumbnail(read_image(record), THUMBNAIL_SIDE)
    return png(rgb(pixels)) if jpeg is None else data_uri(jpeg, "image/jpeg")


def seen_picture(pixels: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The channel values that reach the model, lit, and all others dark.

    A kept value v has the brightness (40 + 215 v / 255) / 255 in its own colour, so that a kept 0
    differs from a dropped value. A pixel without any kept value keeps 15% of its luminance.

    Args:
        pixels: uint8 [height, width, channels].
        kept: bool [channels, height, width].

    Returns:
        uint8 [height, width, 3].
    """
    kept = kept.transpose(1, 2, 0)
    lit = np.where(kept, 40 + rgb(pixels) * (215 / 255), 0)
    return _bytes(np.where(kept.any(axis=-1, keepdims=True), lit, DARK * _gray(pixels)))


def attribution_picture(pixels: np.ndarray, attribution: np.ndarray, scale: float) -> np.ndarray:
    """Evidence for the class in orange, against it in blue, over the darkened image.

    Args:
        pixels: uint8 [height, width, channels].
        attribution: float [planes, height, width]; planes are summed.
        scale: the attribution that is drawn at full strength.

    Returns:
        uint8 [height, width, 3].
    """
    values = attribution.sum(axis=0)
    strength = attribution_strength(values, scale)[..., np.newaxis]
    colour = np.where(values[..., np.newaxis] > 0, FOR, AGAINST)
    return _bytes((1 - strength) * 0.35 * _gray(pixels) + strength * colour)


def attribution_strength(values: np.ndarray, scale: float) -> np.ndarray:
    """sqrt(|value| / scale), at most 1: the root keeps small values visible."""
    return np.sqrt(np.minimum(np.abs(values) / max(scale, 1e-30), 1))


def png(picture: np.ndarray) -> str:
    """A PNG of uint8 [height, width, 3 or 4], pixel for pixel."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return data_uri(buffer.getvalue(), "image/png")


def rgb(pixels: np.ndarray) -> np.ndarray:
    """uint8 [height, width, 3] from [height, width, 1 or 3]."""
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def _gray(pixels: np.ndarray) -> np.ndarray:
    return np.mean(pixels, axis=-1, keepdims=True)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
