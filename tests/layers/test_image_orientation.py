"""EXIF orientation: pictures reach the model as Pillow's `exif_transpose` shows them."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from covid_lm.layers import image_inspection
from covid_lm.layers.image_input import ImageInput
from covid_lm.layers.image_plain import turn_and_resize
from tests.layers import encoded_images
from tests.layers.encoded_images import encode, patch, png_chunk

SIZE = (24, 40)
RGB = Image.fromarray(encoded_images.picture(50, 70))
ORIENTATIONS = range(1, 9)
START = b"Exif\0\0"


def exif(orientation: int, order: str = "<", before: int = 1, start: bytes = START) -> bytes:
    """EXIF of `before` entries and the orientation, with an offset to its directory."""
    entries = [struct.pack(order + "HHI4s", 0x10F, 2, 2, b"a\0")] * before
    entries.append(struct.pack(order + "HHIH2x", 0x112, 3, 1, orientation))
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(order + "I4x", 12)
    return start + head + struct.pack(order + "H", len(entries)) + b"".join(entries) + bytes(4)


def with_exif(kind: str, content: bytes) -> bytes:
    """The picture in a format, with this EXIF and the flags and lengths that belong to it."""
    options = {
        "JPEG": {"quality": 90, "subsampling": 0},
        "JPEG progressive": {"quality": 90, "progressive": True},
        "PNG": {"compress_level": 1},
        "WEBP": {"quality": 80, "method": 0},
        "WEBP lossless": {"lossless": True, "method": 0},
        "WEBP animated": {"lossless": True, "method": 0, "save_all": True},
    }.get(kind, {})
    if kind == "PNG after the data":
        whole = encode(RGB, "PNG")
        return whole[:-12] + png_chunk(b"prVt", b"x") + png_chunk(b"eXIf", content) + whole[-12:]
    if kind == "PNG":
        whole = encode(RGB, "PNG", **options)
        return whole[:33] + png_chunk(b"eXIf", content) + whole[33:]
    if kind == "WEBP animated":
        options["append_images"] = [RGB.rotate(180)]
    if kind.startswith("WEBP"):
        return webp(encode(RGB, "WEBP", exif=b"?" * 3, **options), content)
    whole = encode(RGB, "JPEG", **options)
    return whole[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + whole[2:]


def webp(file: bytes, content: bytes) -> bytes:
    """A WebP of Pillow's with its three bytes of EXIF, which are last, replaced."""
    assert file[-12:-4] == b"EXIF\3\0\0\0"
    chunk = b"EXIF" + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)
    body = file[8:-12] + chunk
    return b"RIFF" + struct.pack("<I", len(body)) + body


KINDS = ("JPEG", "JPEG progressive", "PNG", "PNG after the data", "WEBP", "WEBP lossless")
KINDS += ("WEBP animated",)


@pytest.fixture(scope="module")
def layer() -> ImageInput:
    return ImageInput(SIZE)


def upright(file: bytes) -> bytes:
    """The picture as Pillow shows it, as a PNG file."""
    return encode(ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB"), "PNG")


def decode(layer: ImageInput, files: list[bytes]) -> np.ndarray:
    output = layer(tf.constant(files))
    assert output["valid"].numpy().all(), output["reason"].numpy()
    return output["pixels"].numpy().astype(int)


@pytest.mark.parametrize("kind", KINDS)
def test_all_orientations_of_both_byte_orders_are_pillows(layer, kind):
    files = [with_exif(kind, exif(o, order)) for o in ORIENTATIONS for order in "<>"]
    pixels = decode(layer, files)
    expected = decode(layer, [upright(file) for file in files])
    tolerance = 1 if kind.startswith("JPEG") else 0
    assert np.abs(pixels - expected).max() <= tolerance
    assert len(np.unique(pixels.reshape(16, -1), axis=0)) == 8


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_the_start_of_a_jpeg_segment_in_a_chunk_is_optional(layer, kind):
    files = [with_exif(kind, exif(6, start=start)) for start in (START, b"")]
    pixels = decode(layer, [*files, upright(files[0])])
    assert (pixels == pixels[0]).all()


def test_pictures_of_every_orientation_in_one_batch(layer):
    files = [with_exif(KINDS[k % len(KINDS)], exif(k % 8 + 1)) for k in range(28)]
    order = np.random.default_rng(0).permutation(28)
    together = decode(layer, [files[k] for k in order])
    for row, k in enumerate(order):
        np.testing.assert_array_equal(together[row], decode(layer, [files[k]])[0])


def damaged() -> dict[str, bytes]:
    """EXIF from which no orientation can be read, by kind of damage; little-endian."""
    sound = exif(6)
    head, entry = len(START), len(START) + 12 + 2 + 12
    return {
        "nothing": START,
        "no header": START + b"nonsense, and more of it",
        "cut in the header": sound[: head + 6],
        "cut in the directory": sound[: entry + 11],
        "wrong magic number": patch(sound, head + 2, b"+\0"),
        "mixed byte order": patch(sound, head, b"MI"),
        "other byte order": patch(sound, head, b"MM\0*"),
        "directory far away": patch(sound, head + 4, b"\xff\xff\xff\xff"),
        "directory after the end": patch(sound, head + 4, struct.pack("<I", len(sound) - head)),
        "no entries": patch(sound, head + 12, b"\0\0"),
        "one entry less": patch(sound, head + 12, b"\1\0"),
        "another type": patch(sound, entry + 2, b"\7\0"),
        "two values": patch(sound, entry + 4, b"\2\0"),
        "zero": exif(0),
        "nine": exif(9),
        "large value": exif(0x0600),
    }


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_is_ignored(layer, kind):
    pixels = decode(layer, [with_exif(kind, exif(1))])
    others = decode(layer, [with_exif(kind, content) for content in damaged().values()])
    for name, other in zip(damaged(), others, strict=True):
        np.testing.assert_array_equal(other, pixels[0], name)


def test_exif_that_claims_more_than_the_file_has(layer):
    content = patch(exif(6), len(START) + 4, struct.pack("<I", 5000))
    jpeg, png = with_exif("JPEG", content), with_exif("PNG after the data", content)
    files = [
        patch(jpeg, 4, b"\xff\xff")[:3000],
        patch(png, png.index(b"eXIf") - 4, struct.pack(">I", 2**31 - 1)),
        with_exif("PNG", exif(1)),
    ]
    output = layer(tf.constant(files))
    np.testing.assert_array_equal(output["valid"], [False, True, True])
    np.testing.assert_array_equal(output["pixels"][1], output["pixels"][2])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_damage_behind_the_orientation_does_not_matter(layer, kind):
    sound = exif(6, before=40)
    number = len(START) + 12
    files = [sound, patch(sound, number, b"\xff\xff"), sound[:-4]]
    pixels = decode(layer, [with_exif(kind, content) for content in files])
    assert (pixels == decode(layer, [with_exif(kind, exif(6))])).all()


def test_the_first_exif_of_a_file_counts(layer):
    first, second = exif(6), exif(3)
    jpeg, png = with_exif("JPEG", second), with_exif("PNG after the data", second)
    files = [
        jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(first) + 2) + first + jpeg[2:],
        png[:33] + png_chunk(b"eXIf", first) + png[33:],
    ]
    expected = [with_exif("JPEG", first), with_exif("PNG", first)]
    np.testing.assert_array_equal(decode(layer, files), decode(layer, expected))


def test_webp_without_the_flag_of_exif_is_upright(layer):
    """Pillow and browsers ignore such a chunk, too."""
    file = with_exif("WEBP", exif(6))
    without = patch(file, 20, bytes([file[20] & ~8]))
    pixels = decode(layer, [without, with_exif("WEBP", exif(1)), upright(without)])
    assert (pixels == pixels[0]).all()


def test_other_segments_of_the_same_marker_are_no_exif(layer):
    xmp = b"http://ns.adobe.com/xap/1.0/\0"
    files = [with_exif("JPEG", content) for content in (exif(1), xmp + exif(6), b"Exif\0" * 9)]
    pixels = decode(layer, files)
    assert (pixels == pixels[0]).all()


def test_pictures_too_large_for_a_copy_are_turned_after_they_are_resized(monkeypatch):
    pixels = encoded_images.picture(90, 61)
    for orientation in tf.range(1, 9, dtype=tf.int64):
        expected = turn_and_resize(tf.constant(pixels), orientation, SIZE)
        with monkeypatch.context() as patched:
            patched.setattr(image_inspection, "DECODER_BYTES", 1000)
            late = turn_and_resize(tf.constant(pixels), orientation, SIZE)
        assert np.abs(late.numpy().astype(int) - expected).max() <= 1
