"""Gray images of more than 8 bits: windows, the warning without one, and what is refused."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from covid_lm.data import deep_images
from covid_lm.data.conversion import convert
from covid_lm.data.image_files import find_images
from covid_lm.data.windows import Window
from covid_lm.errors import UnusableFile
from covid_lm.layers.image_input import ImageInput
from tests.conftest import encode, random_picture

TWELVE_BITS = np.linspace(0, 4095, 64 * 48).reshape(48, 64).astype(np.uint16)
WINDOW = Window(2048, 4096)
WARNING = (
    "warning: a 16-bit image uses 6% of its range, so most of its levels are lost: give "
    "--window=CENTER,WIDTH, or store it with 8 bits\n"
)


@pytest.fixture(autouse=True)
def _not_warned_yet(monkeypatch):
    monkeypatch.setattr(deep_images, "_warned", [])


def pixels_of(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_a_window_makes_8_bits_of_16(image_format, capsys):
    content = convert(encode(TWELVE_BITS, image_format), "x", WINDOW)
    pixels = pixels_of(content)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - TWELVE_BITS // 16).max() <= 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_without_a_window_a_model_reads_the_upper_8_bits(image_format, capsys):
    full = (TWELVE_BITS * 16).astype(np.uint16)
    content = convert(encode(full, image_format), "x")
    decoded = ImageInput((48, 64))(tf.constant([content]))["pixels"][0].numpy()
    assert np.abs(decoded[..., 0].astype(int) - full // 256).max() <= 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_a_narrow_range_is_a_warning_once(image_format, capsys):
    for _ in range(3):
        content = convert(encode(TWELVE_BITS, image_format), "x")
        np.testing.assert_array_equal(pixels_of(content), TWELVE_BITS)
    assert capsys.readouterr().err == WARNING


def test_tiff_of_the_other_byte_order():
    values = np.arange(0, 65536, 16, dtype=">u2").reshape(64, 64)
    content = encode(values, "TIFF")
    assert content.startswith(b"MM")
    np.testing.assert_array_equal(pixels_of(convert(content, "x")), values)
    levels = pixels_of(convert(content, "x", Window(32768, 65536)))
    assert np.abs(levels - values / 65535 * 255).max() <= 1


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_tiff_of_32_bits(kind):
    values = (TWELVE_BITS.astype(np.int32) - 1024).astype(kind)
    content = encode(values, "TIFF")
    pixels = pixels_of(convert(content, "x"))
    assert np.abs(pixels - TWELVE_BITS / 4095 * 255).max() <= 1
    pixels = pixels_of(convert(content, "x", Window(2048 - 1024, 4096)))
    assert np.abs(pixels - TWELVE_BITS / 4095 * 255).max() <= 1


def test_an_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encode(TWELVE_BITS, "PNG", exif=exif)
    upright = pixels_of(convert(content, "x", WINDOW))
    expected = pixels_of(convert(encode(TWELVE_BITS), "x", WINDOW))
    np.testing.assert_array_equal(upright, np.rot90(expected, -1))


def test_other_images_stay_as_they_are():
    for image_format in ("PNG", "JPEG", "BMP", "GIF", "WEBP"):
        content = encode(random_picture(8, 8), image_format)
        assert convert(content, "x", WINDOW) is content
    color = encode(random_picture(8, 8), "TIFF")
    assert convert(color, "x", WINDOW) is color
    assert convert(b"", "x", WINDOW) == b""


def alpha_png() -> bytes:
    """The start of a PNG file of 16-bit gray with alpha."""
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0\0\0\x08" * 2 + b"\x10\x04\0\0\0" + bytes(4)


def test_images_that_are_refused():
    content = encode(TWELVE_BITS)
    cut = content[: len(content) // 2]
    with pytest.raises(UnusableFile, match="x: damaged "):
        convert(cut, "x", WINDOW)
    assert convert(cut, "x") is cut  # a model gives the reason
    with pytest.raises(UnusableFile, match="x: 16-bit gray with alpha has no window; store it"):
        convert(alpha_png(), "x", WINDOW)
    assert convert(alpha_png(), "x") == alpha_png()
    huge = bytearray(encode(TWELVE_BITS, "TIFF"))
    place = huge.index(b"\0\1\4\0\1\0\0\0\x40\0\0\0")  # ImageWidth
    huge[place + 8 : place + 12] = (2_000_000).to_bytes(4, "little")
    with pytest.raises(UnusableFile, match="x: too many pixels: 2000000 x 48"):
        convert(bytes(huge), "x", WINDOW)


def test_a_deep_tiff_file_is_an_image_and_another_is_not(tmp_path):
    (tmp_path / "deep.tif").write_bytes(encode(TWELVE_BITS, "TIFF"))
    (tmp_path / "color.tif").write_bytes(encode(random_picture(8, 8), "TIFF"))
    (tmp_path / "cut.tif").write_bytes(b"II*\0")
    found = find_images(str(tmp_path))
    assert found.images == [str(tmp_path / "deep.tif")]
    assert [kind for _, kind in found.others] == ["TIFF", "TIFF"]
