"""Features of the decoded, full-size pixels that do not depend on what the image shows.

The border ring and the interior are measured separately, so that a mark in the border is not
mistaken for a property of the interior, or the reverse.
"""

import numpy as np
from PIL import Image
from scipy import ndimage

RING = 6
BLOCK = 8
MAX_SIDE = 2048
COLOURED = 8  # levels between the largest and the smallest channel


def ring_width(height: int, width: int) -> int:
    """Width of the border in pixels: 6, or an eighth of the shorter side of a small image."""
    return max(1, min(RING, min(height, width) // 8))


def interior(gray: np.ndarray) -> np.ndarray:
    """The image without its border ring, cropped to 2048 x 2048 around its centre.

    The crop starts at a multiple of 8 from the border's corner, so that the phase of a grid of
    8 x 8 blocks is preserved.
    """
    ring = ring_width(*gray.shape)
    inner = gray[ring:-ring, ring:-ring] if min(gray.shape) > 2 * ring else gray
    starts = [max(side - MAX_SIDE, 0) // 2 // BLOCK * BLOCK for side in inner.shape]
    return inner[starts[0] : starts[0] + MAX_SIDE, starts[1] : starts[1] + MAX_SIDE]


def intensity_features(image: Image.Image, gray: np.ndarray) -> dict[str, float]:
    """Mean, spread and colourfulness of the interior, in levels from 0 to 255."""
    inner = interior(gray)
    low, high = np.percentile(inner, (5, 95))
    return {
        "mean intensity": float(inner.mean()),
        "standard deviation of intensity": float(inner.std()),
        "5th percentile of intensity": float(low),
        "95th percentile of intensity": float(high),
        "mean colour difference": _colour_difference(image),
    }


def _colour_difference(image: Image.Image) -> float:
    colours = _inner_colours(image)
    return float((colours.max(axis=-1) - colours.min(axis=-1)).mean())


def colour_features(image: Image.Image) -> dict[str, float]:
    """Cast of the interior: differences of the channels, and the share of coloured areas."""
    red, green, blue = np.moveaxis(_inner_colours(image), -1, 0)
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    bright = red + green + blue >= np.median(red + green + blue)
    return {
        "red minus green": float((red - green).mean()),
        "blue minus green": float((blue - green).mean()),
        "red minus green of the bright half": float((red - green)[bright].mean()),
        "blue minus green of the bright half": float((blue - green)[bright].mean()),
        "share of coloured areas": float((spread > COLOURED).mean()),
    }


def _inner_colours(image: Image.Image) -> np.ndarray:
    """R, G and B of the centre of a small version, float32 [24, 24, 3]; zeros for a gray image."""
    if image.mode in ("1", "L", "LA") or image.mode.startswith(("I", "F")):
        return np.zeros((24, 24, 3), np.float32)
    small = image.convert("RGB").resize((32, 32), Image.Resampling.BOX)
    return np.asarray(small, np.float32)[4:-4, 4:-4]


def border_features(gray: np.ndarray) -> dict[str, float]:
    """Mean, spread and extremes of the border's four sides, in levels from 0 to 255."""
    ring = ring_width(*gray.shape)
    sides = (gray[:ring], gray[-ring:], gray[:, :ring], gray[:, -ring:])
    figures = {"mean": "mean", "standard deviation": "std", "minimum": "min", "maximum": "max"}
    return {
        f"{figure} of the {name} border": float(getattr(side, method)())
        for name, side in zip(("top", "bottom", "left", "right"), sides, strict=True)
        for figure, method in figures.items()
    }


def compression_features(gray: np.ndarray) -> dict[str, float]:
    """Traces of earlier compression, scaling and clipping in the interior.

    Blockiness is the mean step across the borders of 8 x 8 blocks divided by the mean step
    elsewhere, 1 without a grid (Wang, Bovik and Evans 2000 measure this contrast by spectrum).
    """
    ring = ring_width(*gray.shape)
    inner = interior(gray).astype(np.float32)
    across = np.abs(np.diff(inner, axis=1)) if inner.shape[1] > 1 else np.zeros((1, 1))
    down = np.abs(np.diff(inner, axis=0)) if inner.shape[0] > 1 else np.zeros((1, 1))
    laplacian = ndimage.laplace(inner)[1:-1, 1:-1] if min(inner.shape) > 2 else np.zeros((1, 1))
    counts = np.bincount(inner.astype(np.uint8).ravel(), minlength=256)
    used = np.flatnonzero(counts)
    return {
        "blockiness across": _blockiness(across.mean(axis=0), ring),
        "blockiness down": _blockiness(down.mean(axis=1), ring),
        "high-frequency energy": float(np.log1p(float(np.mean(laplacian**2)))),
        "share of equal neighbours": float(((across == 0).mean() + (down == 0).mean()) / 2),
        "share of black pixels": float(counts[0] / inner.size),
        "share of white pixels": float(counts[255] / inner.size),
        "share of unused levels": float(1 - len(used) / (used[-1] - used[0] + 1)),
    }


def _blockiness(steps: np.ndarray, offset: int) -> float:
    """Blockiness of mean steps between lines i and i + 1, the first line being `offset`."""
    at_border = (np.arange(len(steps)) + offset) % BLOCK == BLOCK - 1
    if not at_border.any() or at_border.all():
        return 1.0
    return float((steps[at_border].mean() + 0.1) / (steps[~at_border].mean() + 0.1))
