"""Features of the file: exact values for made-up files."""

import io

import numpy as np
import pytest
from PIL import Image

from covid_lm.auditing.features import container as container_features
from covid_lm.auditing.features.observations import Observation, Unreadable, observe
from covid_lm.data.phantom.leaks import add_metadata
from tests.audit.synthetic import noise, record
from tests.conftest import encode

GRAY = np.full((16, 16), 90, np.uint8)


def opened(payload: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(payload))
    image.load()
    return image


@pytest.mark.parametrize(
    ("name", "image_format", "mismatch"),
    [
        ("a.png", "PNG", False),
        ("a.PNG", "JPEG", True),
        ("a.jpeg", "JPEG", False),
        ("a.jpg", "PNG", True),
        ("a", "PNG", False),
        ("a.scan", "PNG", False),
    ],
)
def test_extension_mismatch(name, image_format, mismatch):
    assert container_features.extension_mismatch(name, image_format) is mismatch


def test_first_bytes_of_a_png_end_with_its_encoders_signature():
    facts = container_features.first_bytes(encode(GRAY))
    assert facts[:4] == ("byte 0 is 89", "byte 1 is 50", "byte 2 is 4e", "byte 3 is 47")
    assert facts[-2].startswith("byte 41 is 78")  # the zlib header: 33 + length + IDAT
    assert len(facts) == 43


def test_first_bytes_of_a_jpeg_are_64():
    facts = container_features.first_bytes(encode(GRAY, "JPEG"))
    assert facts[:2] == ("byte 0 is ff", "byte 1 is d8")
    assert len(facts) == 64


@pytest.mark.parametrize("image_format", ["PNG", "JPEG"])
def test_a_plain_file_has_no_metadata(image_format):
    assert container_features.metadata_facts(opened(encode(GRAY, image_format))) == ()


def test_png_text_after_the_pixels_is_found():
    facts = container_features.metadata_facts(opened(add_metadata(encode(GRAY))))
    assert facts == ("Software is 'Export Station 4'", "has Software")


def test_exif_xmp_and_long_values():
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    xmp = b'<x:xmpmeta><rdf:Description dc:format="image/png"/></x:xmpmeta>'
    payload = encode(GRAY, "JPEG", exif=exif, xmp=xmp, comment=b"c" * 100)
    facts = container_features.metadata_facts(opened(payload))
    assert "has EXIF Make" in facts
    assert "EXIF Make is 'Maker'" in facts
    assert "has xmp dc:format" in facts
    assert "has comment" in facts
    assert any(fact.startswith("comment is 100 bytes ") for fact in facts)


def test_photoshop_blocks_and_damaged_exif():
    image = opened(encode(GRAY))
    image.info["photoshop"] = {0x0404: b"x", 0x03ED: b"y"}
    facts = container_features.metadata_facts(image)
    assert facts == ("has photoshop", "has photoshop block 0x03ed", "has photoshop block 0x0404")
    image = opened(encode(GRAY, "JPEG"))
    image.info["exif"] = b"Exif\0\0nonsense"
    assert all("EXIF" not in fact for fact in container_features.metadata_facts(image))


@pytest.mark.parametrize(
    ("mode", "bits"), [("1", 1), ("L", 8), ("RGB", 8), ("RGBA", 8), ("I;16", 16)]
)
def test_mode_and_bit_depth(mode, bits):
    picture = Image.new(mode, (9, 7))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    seen = observe(record(payload=buffer.getvalue()))
    assert (seen.mode, seen.bit_depth, seen.width, seen.height) == (mode, bits, 9, 7)
    assert (seen.format, seen.num_bytes) == ("PNG", len(buffer.getvalue()))


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b"no image", "not an image"),
        (encode(noise(0), "TIFF"), "format not supported: TIFF"),
        (encode(noise(0))[:100], "truncated or damaged"),
    ],
)
def test_a_damaged_file_is_unreadable(payload, reason):
    seen = observe(record(payload=payload))
    assert isinstance(seen, Unreadable)
    assert seen.reason == reason


def test_a_missing_file_is_unreadable():
    def gone():
        raise FileNotFoundError(2, "No such file or directory", "x.png")

    missing = record()
    object.__setattr__(missing, "read", gone)
    assert "No such file" in observe(missing).reason


def test_too_many_pixels_are_not_decoded():
    buffer = io.BytesIO()
    Image.new("1", (9000, 9000)).save(buffer, "PNG")
    assert observe(record(payload=buffer.getvalue())).reason == "too many pixels: 9000 x 9000"


def test_a_jpeg_is_observed():
    seen = observe(record(name="a.jpg", payload=encode(noise(1), "JPEG")))
    assert isinstance(seen, Observation)
    assert (seen.format, seen.mode) == ("JPEG", "L")
    assert seen.thumbnail.shape == (32, 32)


def test_a_tiff_file_is_read_as_png():
    assert not container_features.extension_mismatch("scan.tif", "PNG")
    assert container_features.extension_mismatch("scan.tif", "JPEG")
