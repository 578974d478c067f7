"""Values of more than 8 bits reduced to 8 bits, and the gray PNG and TIFF images that hold such."""

import contextlib
import io
import sys
import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from covid_lm.data.windows import NotConverted, Window, check_size
from covid_lm.errors import reason
from covid_lm.layers.image_kinds import GRAY, PNG_START

FULL_RANGE = 2**16
USED_SHARE = 0.25  # of the range; an image that uses less of it is almost black without a window
NARROW = (
    "a 16-bit image uses {share:.0%} of its range, so most of its levels are lost: give "
    "--window=CENTER,WIDTH, or store it with 8 bits"
)


def is_deep_tiff(file: BinaryIO) -> bool:
    """True for a TIFF file whose first image is gray, with more than 8 bits."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(file, formats=("TIFF",)) as image:
                return _is_deep(image.mode)
    except Exception:  # decoders raise errors of any type on damaged files
        return False


def reduce_image(content: bytes, window: Window | None) -> bytes:
    """A deep gray image as PNG, of 8 bits unless there is no window.

    Without a window 16 bits stay 16 bits, of which a model reads the upper 8; values of 32 bits
    are scaled by the image's own range.

    Raises:
        NotConverted: damaged, too large, or of a kind that has no window.
    """
    is_png = content.startswith(PNG_START)
    if is_png and window is None:
        _warn_if_png_is_narrow(content)
        return content
    if is_png and content[25] != GRAY:
        raise NotConverted("16-bit gray with alpha has no window; store it without alpha")
    values = np.asarray(_load(content))
    if window is not None:
        return png(windowed_levels(values, window))
    if values.dtype.itemsize != 2:
        return png(full_range_levels(values))
    _warn_if_narrow(values)
    return png(values.astype(np.uint16))  # of this machine's byte order


def _warn_if_png_is_narrow(content: bytes) -> None:
    if content[25] == GRAY and not _warned:
        with contextlib.suppress(NotConverted):  # a model gives the reason
            _warn_if_narrow(np.asarray(_load(content)))


def _load(content: bytes) -> Image.Image:
    """The upright image, of one of the modes of `_is_deep`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=("PNG", "TIFF"))
            check_size(*image.size)
            image.load()
            return ImageOps.exif_transpose(image)
    except NotConverted:
        raise
    except Exception as error:  # decoders raise errors of any type on damaged files
        raise NotConverted(f"damaged ({reason(error)})") from None


def _is_deep(mode: str) -> bool:
    return mode in ("I", "F") or mode.startswith("I;16")


_warned: list[bool] = []


def _warn_if_narrow(values: np.ndarray) -> None:
    """Warns once per process, since the images of a data set are mostly of one kind."""
    share = (int(values.max()) - int(values.min()) + 1) / FULL_RANGE
    if share < USED_SHARE and not _warned:
        _warned.append(True)
        print(f"warning: {NARROW.format(share=share)}", file=sys.stderr, flush=True)


def windowed_levels(values: np.ndarray, window: Window) -> np.ndarray:
    """Levels by a window, uint8 of the shape of the values: DICOM's linear function."""
    offsets = np.asarray(values, np.float64) - (window.center - 0.5)
    if window.width == 1:
        return to_levels(offsets > 0, 0, 1)
    return to_levels(offsets / (window.width - 1) + 0.5, 0, 1)


def to_levels(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scales `low` to 0 and `high` to 255, uint8; a value outside becomes the nearer of these.

    What is no number becomes 0, as do all values if `low` and `high` are equal.
    """
    span = (float(high) - float(low)) or 1.0
    scaled = (np.asarray(values, np.float64) - low) * (255.0 / span)
    return np.rint(np.clip(np.nan_to_num(scaled, posinf=255.0), 0, 255)).astype(np.uint8)


def full_range_levels(values: np.ndarray) -> np.ndarray:
    """Scales the smallest value to 0 and the largest to 255, uint8."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return np.zeros(values.shape, np.uint8)
    return to_levels(values, finite.min(), finite.max())


def png(levels: np.ndarray) -> bytes:
    """A PNG file of levels, uint8 [height, width] or [height, width, 3], or uint16."""
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
