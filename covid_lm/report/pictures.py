"""Small pictures of what a model reads and of what its answer rests on, as data URIs."""

import io

import numpy as np
from PIL import Image

from covid_lm.html_page import data_uri

FOR = (255, 150, 20)
AGAINST = (70, 150, 255)
DARK = 0.15  # of its luminance is left of a pixel that the model can't see


def seen_picture(pixels: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The channel values that reach the model lit, all others dark.

    A value v shines with (40 + 215 v / 255) / 255 in its own colour, so that a kept 0 is not
    taken for a dropped one. A pixel without any kept value has 15% of its luminance.

    Args:
        pixels: uint8 [height, width, channels].
        kept: bool [channels, height, width].

    Returns:
        uint8 [height, width, 3].
    """
    lit = np.where(kept.transpose(1, 2, 0), 40 + pixels * (215 / 255), 0)  # [h, w, channels]
    dropped = np.expand_dims(~kept.any(axis=0), -1)
    return _bytes(np.where(dropped, DARK * _gray(pixels), np.broadcast_to(lit, rgb(pixels).shape)))


def attribution_picture(pixels: np.ndarray, attribution: np.ndarray, scale: float) -> np.ndarray:
    """What speaks for the class in orange, against it in blue, over the darkened picture.

    Args:
        pixels: uint8 [height, width, channels].
        attribution: float [planes, height, width]; planes are added up.
        scale: the attribution that is drawn at full strength.

    Returns:
        uint8 [height, width, 3].
    """
    values = attribution.sum(axis=0)
    strength = attribution_strength(values, scale)[..., np.newaxis]
    colour = np.where(values[..., np.newaxis] > 0, FOR, AGAINST)
    return _bytes((1 - strength) * 0.35 * _gray(pixels) + strength * colour)


def attribution_strength(values: np.ndarray, scale: float) -> np.ndarray:
    """sqrt(|value| / scale), at most 1: a square root, since few values are near the largest."""
    return np.sqrt(np.minimum(np.abs(values) / max(scale, 1e-30), 1))


def png(picture: np.ndarray) -> str:
    """uint8 [height, width, 3 or 4] as PNG, pixel for pixel."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return data_uri(buffer.getvalue(), "image/png")


def rgb(pixels: np.ndarray) -> np.ndarray:
    """uint8 [height, width, 3] of [height, width, 1 or 3]."""
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def _gray(pixels: np.ndarray) -> np.ndarray:
    return np.mean(pixels, axis=-1, keepdims=True)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
