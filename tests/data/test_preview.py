"""Thumbnails and gray levels of image files."""

import io

import numpy as np
from PIL import ExifTags, Image

from covid_lm.data.preview import gray_levels, thumbnail
from tests.conftest import encode, random_picture

DEEP = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)


def opened(jpeg: bytes) -> Image.Image:
    return Image.open(io.BytesIO(jpeg))


def test_a_thumbnail_is_the_file_made_small():
    small = opened(thumbnail(encode(random_picture(300, 600)), 200))
    assert (small.format, small.size, small.mode) == ("JPEG", (200, 100), "RGB")


def test_a_thumbnail_is_turned_unless_its_exif_is_damaged():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    payload = encode(random_picture(300, 600), "JPEG", exif=exif)
    assert opened(thumbnail(payload, 200)).size == (100, 200)
    damaged = payload.replace(b"Exif\0\0MM", b"Exif\0\0??")
    assert damaged != payload
    assert opened(thumbnail(damaged, 200)).size == (200, 100)


def test_a_thumbnail_of_16_bits_is_gray():
    buffer = io.BytesIO()
    DEEP.save(buffer, "PNG")
    assert opened(thumbnail(buffer.getvalue(), 200)).mode == "L"


def test_what_pillow_cannot_read_has_no_thumbnail():
    assert thumbnail(b"no image", 200) is None
    assert thumbnail(encode(random_picture(30, 30))[:60], 200) is None


def test_deep_gray_levels_are_scaled_by_their_maximum():
    levels = gray_levels(DEEP)
    assert levels.dtype == np.uint8
    assert (levels.min(), levels.max()) == (0, 255)
    assert levels[4, 0] == 32 * 255 // 63
