"""Edits of encoded images, compared pixel by pixel."""

import io

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from covid_lm.auditing.model import image_edits
from covid_lm.data.phantom.leaks import add_metadata
from tests.conftest import encode, random_picture

PIXELS = random_picture(40, 48)


def test_metadata_of_a_png_is_stripped():
    plain = encode(PIXELS)
    assert image_edits.without_metadata(add_metadata(plain)) == plain


def test_metadata_of_a_jpeg_is_stripped_and_its_pixels_are_not_compressed_again():
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    payload = encode(PIXELS, "JPEG", exif=exif, comment=b"hello", icc_profile=b"profile" * 9)
    stripped = image_edits.without_metadata(payload)
    assert b"Maker" not in stripped
    assert b"hello" not in stripped
    assert b"profile" not in stripped
    np.testing.assert_array_equal(image_edits.rgb_pixels(stripped), image_edits.rgb_pixels(payload))


def test_other_formats_become_png():
    stripped = image_edits.without_metadata(encode(PIXELS, "BMP"))
    assert Image.open(io.BytesIO(stripped)).format == "PNG"
    np.testing.assert_array_equal(image_edits.rgb_pixels(stripped), PIXELS)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
def test_an_image_without_its_exif_is_shown_as_before(image_format):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    payload = encode(PIXELS, image_format, exif=exif)
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(payload))).convert("RGB")
    stripped = image_edits.without_metadata(payload)
    assert "exif" not in Image.open(io.BytesIO(stripped)).info
    np.testing.assert_array_equal(image_edits.rgb_pixels(stripped), shown)
    np.testing.assert_array_equal(image_edits.rgb_pixels(payload), shown)


def test_reencoding_changes_pixels_a_little():
    after = image_edits.rgb_pixels(image_edits.reencoded(encode(PIXELS))).astype(int)
    difference = np.abs(after - PIXELS)
    assert 0 < difference.max() < 24
    assert after.shape == PIXELS.shape


def test_blank_border_and_centre():
    payload = encode(PIXELS)
    assert np.all(image_edits.rgb_pixels(image_edits.blanked(payload)) == 128)
    border = image_edits.rgb_pixels(image_edits.only_border(payload))
    centre = image_edits.rgb_pixels(image_edits.only_centre(payload))
    inner = (slice(5, 35), slice(6, 42))
    assert np.all(border[inner] == 128)
    np.testing.assert_array_equal(border[:5], PIXELS[:5])
    np.testing.assert_array_equal(border[:, -6:], PIXELS[:, -6:])
    np.testing.assert_array_equal(centre[inner], PIXELS[inner])
    assert np.all(centre[:5] == 128)


def test_marks_are_removed():
    pixels = np.full((60, 70, 3), 20, np.uint8)
    marked = pixels.copy()
    marked[3:8, 4:6] = 255
    after = image_edits.rgb_pixels(image_edits.marks_removed(encode(marked)))
    np.testing.assert_array_equal(after, pixels)


def test_a_file_without_an_image_raises():
    with pytest.raises(OSError, match="cannot identify"):
        image_edits.blanked(b"no image")
