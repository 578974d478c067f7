"""Containers around pixels: metadata, many parts, parts that are missing, frames on a canvas."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, PngImagePlugin

from covid_lm.layers.image_input import ImageInput
from tests.layers import encoded_images
from tests.layers.encoded_images import encode, patch, png_chunk

RGB = Image.fromarray(encoded_images.picture(40, 50))


@pytest.fixture(scope="module")
def layer() -> ImageInput:
    return ImageInput()


def decode(layer: ImageInput, *files: bytes) -> tuple[np.ndarray, list[str]]:
    output = layer(tf.constant(files))
    return output["pixels"].numpy(), [reason.decode() for reason in output["reason"].numpy()]


def png_in_chunks(sizes: list[int]) -> bytes:
    """RGB with its data in chunks of these sizes, in turn."""
    whole = encode(RGB, "PNG")
    start = whole.index(b"IDAT") - 4
    data, parts, number = whole[start + 8 : -16], b"", 0
    while data:
        size = sizes[number % len(sizes)]
        parts, data, number = parts + png_chunk(b"IDAT", data[:size]), data[size:], number + 1
    return whole[:start] + parts + whole[-12:]


@pytest.mark.parametrize("sizes", [[100], [7], [300, 5], [1, 2, 3, 500], [0, 90]], ids=str)
def test_png_data_in_chunks_of_any_sizes(layer, sizes):
    pixels, reasons = decode(layer, png_in_chunks(sizes), encode(RGB, "PNG"))
    assert reasons == ["", ""]
    np.testing.assert_array_equal(pixels[0], pixels[1])


def test_png_metadata_and_further_frames_change_no_pixel(layer):
    info = PngImagePlugin.PngInfo()
    info.add_text("a", "b" * 3000, zip=True)
    info.add_itxt("c", "d", zip=True)
    info.add(b"prVt", b"after the data", after_idat=True)
    palette = RGB.quantize(64)
    for image in (RGB, palette, palette.convert("RGBA")):
        options = {"pnginfo": info, "icc_profile": bytes(500), "dpi": (70, 70)}
        animated = {"save_all": True, "append_images": [image.rotate(90)]}
        files = [encode(image, "PNG", **o) for o in ({}, options, {**options, **animated})]
        pixels, reasons = decode(layer, *files)
        assert reasons == ["", "", ""]
        np.testing.assert_array_equal(pixels[1], pixels[0])
        assert np.abs(pixels[2] - encoded_images.resized(files[2])).max() <= 1


@pytest.mark.parametrize("name", [b"tEXt", b"zTXt", b"iCCP", b"IDAT", b"PLTE", b"IEND", b"prVt"])
@pytest.mark.parametrize("length", [1, 2**20, 2**31 - 1, 2**31, 2**32 - 1])
def test_a_png_chunk_that_claims_more_than_there_is(layer, name, length):
    whole = encode(RGB, "PNG")
    start = struct.pack(">I", length) + name
    files = [whole[:33] + start, whole[:-12] + start, whole[:-12] + start + b"\0" * 4]
    assert decode(layer, *files)[1] == ["truncated or damaged"] * 3


def test_a_png_of_an_unknown_critical_chunk_is_not_valid(layer):
    whole = encode(RGB, "PNG")
    strange = [whole[:33] + png_chunk(name, b"abc") + whole[33:] for name in (b"ABCD", b"aBCD")]
    assert decode(layer, *strange)[1] == ["truncated or damaged", ""]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
def test_jpeg_without_its_end_marker_at_every_cut(layer, options):
    """Only cuts that lose no data are valid: within the end marker, or of padding bits."""
    whole = encode(RGB, "JPEG", **options)
    pixels, reasons = decode(layer, whole, *(whole[:-cut] for cut in range(1, 60)))
    assert reasons[:3] == ["", "", ""]
    for number, reason in enumerate(reasons):
        assert reason in ("", "truncated or damaged")
        if not reason:
            np.testing.assert_array_equal(pixels[number], pixels[0], str(number))
    assert reasons[5:].count("") == 0


def test_jpeg_without_its_last_scans_and_end_marker_is_not_valid(layer):
    whole = encode(RGB, "JPEG", progressive=True)
    scans = [k for k in range(len(whole)) if whole[k : k + 2] == b"\xff\xda"]
    assert len(scans) > 5
    files = [whole[: k - whole[:k].endswith(b"\xff")] for k in scans[1:]]
    assert set(decode(layer, *files)[1]) == {"truncated or damaged"}


def test_jpeg_scans_have_a_limit(layer):
    whole = encode(RGB, "JPEG", progressive=True)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    many = [whole[:-2] + last * count + b"\xff\xd9" for count in (50, 100)]
    assert decode(layer, *many)[1] == ["", "too many scans: 110"]
    too_many_and_cut = many[1][:-2]
    reasons = decode(layer, many[1], encode(RGB, "GIF"), too_many_and_cut, whole[:-200])[1]
    assert reasons == ["too many scans: 110", "", "too many scans: 110", "truncated or damaged"]


def test_jpeg_with_bytes_between_segments_and_after_the_end(layer):
    whole = encode(RGB, "JPEG")
    table = whole.index(b"\xff\xdb")
    garbage = whole[:table] + b"\0\x12\xff\0" + b"\xff\xff" + whole[table:]
    pixels, reasons = decode(layer, whole, garbage, whole + b"\r\n", whole + whole)
    assert reasons == [""] * 4
    assert (pixels == pixels[0]).all()


@pytest.mark.parametrize(
    ("marker", "name"),
    [
        (0xC3, "lossless JPEG"),
        (0xC9, "arithmetic-coded JPEG"),
        (0xC5, "hierarchical JPEG"),
        (0xF7, "JPEG-LS"),
    ],
)
def test_jpeg_processes_that_are_not_read(layer, marker, name):
    whole = encode(RGB, "JPEG")
    frame = whole.index(b"\xff\xc0")
    files = [patch(whole, frame, bytes([0xFF, marker])), patch(whole, frame + 4, b"\x0c")]
    names = [name, "12-bit JPEG"]
    assert decode(layer, *files)[1] == [f"format not supported: {name}" for name in names]


def test_kinds_that_need_more_memory_have_lower_limits(layer):
    size = struct.pack(">HH", 6000, 6000)
    progressive = encode(RGB, "JPEG", progressive=True)
    files = [
        patch(progressive, progressive.index(b"\xff\xc2") + 5, size),
        patch(encode(RGB, "WEBP", lossless=True), 21, struct.pack("<I", 5999 | 5999 << 14)),
        patch(encode(RGB.convert("L"), "BMP"), 18, struct.pack("<ii", 6000, 6000)),
        patch(encode(RGB, "BMP"), 18, struct.pack("<ii", 6000, 6000)),
    ]
    expected = ["too many pixels: 6000 x 6000"] * 3 + ["truncated or damaged"]
    assert decode(layer, *files)[1] == expected


def test_the_first_frame_of_a_webp_on_its_canvas(layer):
    still = encode(RGB, "WEBP", lossless=True)[12:]
    top, left, height, width = 6, 10, 40, 50
    frame = b"".join(
        value.to_bytes(3, "little") for value in (left // 2, top // 2, width - 1, height - 1, 50)
    )
    frames = [b"ANMF", struct.pack("<I", 16 + len(still)), frame, b"\2", still]
    for canvas in ((60, 80), (46, 60)):
        sides = b"".join((side - 1).to_bytes(3, "little") for side in canvas[::-1])
        body = b"WEBPVP8X\x0a\0\0\0\2\0\0\0" + sides + b"ANIM\6\0\0\0" + bytes(6)
        body += b"".join(frames) * 2
        file = b"RIFF" + struct.pack("<I", len(body)) + body
        assert Image.open(io.BytesIO(file)).n_frames == 2
        pixels, reasons = decode(ImageInput(canvas), file, file[:-1])
        assert reasons == ["", "truncated or damaged"]
        np.testing.assert_array_equal(pixels[0], encoded_images.resized(file, canvas))
    assert decode(layer, file.replace(frame[:3], b"\xff\0\0"))[1] == ["truncated or damaged"]
