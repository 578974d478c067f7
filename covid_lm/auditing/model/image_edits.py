"""Edits of encoded images, which show what the predictions of a model depend on."""

import io
import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image

from covid_lm.auditing.features.layout import without_marks
from covid_lm.data.preview import gray_levels, upright

GRAY = 128
BORDER_DIVISOR = 8
JPEG_QUALITY = 95
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Critical chunks, and the transparency that belongs to the pixels.
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# APP1 to APP13, APP15 and comments; APP0 (JFIF) and APP14 (Adobe) define how colours are stored.
_JPEG_DROPPED = (*range(0xE1, 0xEE), 0xEF, 0xFE)
_START_OF_SCAN = 0xDA


def without_metadata(payload: bytes) -> bytes:
    """The same compressed pixels, byte for byte, without the metadata around them.

    For PNG and JPEG that are stored upright; other files are converted to PNG.

    Raises:
        OSError: not an image.
    """
    if not _stored_upright(payload):
        return as_png(rgb_pixels(payload))
    if payload.startswith(_PNG_SIGNATURE):
        return _PNG_SIGNATURE + b"".join(_png_chunks(payload))
    if payload.startswith(b"\xff\xd8"):
        return payload[:2] + b"".join(_jpeg_segments(payload))
    return as_png(rgb_pixels(payload))


def _png_chunks(payload: bytes) -> Iterator[bytes]:
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(payload):
        (length,) = struct.unpack(">I", payload[position : position + 4])
        end = position + 12 + length
        if payload[position + 4 : position + 8] in _PNG_KEPT:
            yield payload[position:end]
        position = end


def _jpeg_segments(payload: bytes) -> Iterator[bytes]:
    position = 2
    while position + 4 <= len(payload) and payload[position] == 0xFF:
        marker = payload[position + 1]
        if marker == _START_OF_SCAN:
            break
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        end = position + 2 + struct.unpack(">H", payload[position + 2 : position + 4])[0]
        if marker not in _JPEG_DROPPED:
            yield payload[position:end]
        position = end
    yield payload[position:]


def rgb_pixels(payload: bytes) -> np.ndarray:
    """Decoded pixels as shown, uint8 [height, width, 3]; without alpha, scaled to 8 bits.

    Raises:
        OSError: not an image.
    """
    image: Image.Image = Image.open(io.BytesIO(payload))
    image.load()
    image = upright(image)
    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(gray_levels(image))
    return np.asarray(image.convert("RGB"))


def _stored_upright(payload: bytes) -> bool:
    image = Image.open(io.BytesIO(payload))
    image.load()  # EXIF can follow the pixels of a PNG
    return upright(image) is image


def as_png(pixels: np.ndarray) -> bytes:
    """The pixels, uint8 [height, width, 3], as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def reencoded(payload: bytes) -> bytes:
    """The image after JPEG compression at quality 95, as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(rgb_pixels(payload)).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return as_png(rgb_pixels(buffer.getvalue()))


def blanked(payload: bytes) -> bytes:
    """A uniformly gray image of the same size."""
    return as_png(np.full_like(rgb_pixels(payload), GRAY))


def marks_removed(payload: bytes) -> bytes:
    """The image with burned-in letters and marks near the border filled with their surroundings."""
    pixels = rgb_pixels(payload)
    return as_png(without_marks(pixels, gray_levels(Image.fromarray(pixels))))


def only_border(payload: bytes) -> bytes:
    """The image with everything but the outer eighth of each side made gray."""
    pixels = rgb_pixels(payload)
    return as_png(np.where(_in_border(pixels), pixels, np.uint8(GRAY)))


def only_centre(payload: bytes) -> bytes:
    """The image with the outer eighth of each side made gray."""
    pixels = rgb_pixels(payload)
    return as_png(np.where(_in_border(pixels), np.uint8(GRAY), pixels))


def _in_border(pixels: np.ndarray) -> np.ndarray:
    rows, columns = (max(side // BORDER_DIVISOR, 1) for side in pixels.shape[:2])
    border = np.ones((*pixels.shape[:2], 1), bool)
    border[rows:-rows, columns:-columns] = False
    return border
