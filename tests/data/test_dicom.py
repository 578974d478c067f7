"""DICOM files: pixels against pydicom's own functions, headers, and files that are refused."""

import io
import os
import pathlib
import zlib

import numpy as np
import pydicom
import pydicom.data
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit

from covid_lm.data import dicom
from covid_lm.data.conversion import convert, read_image_file
from covid_lm.data.dicom_frames import with_all_frames
from covid_lm.data.dicom_pixels import codestream_size
from covid_lm.data.windows import NAMED_WINDOWS, Window, parse_window
from covid_lm.errors import InputError, UnusableFile
from tests.conftest import encode, random_picture
from tests.data.dicom_files import dicom_content, write_dicom

BUNDLED = sorted(
    path
    for path in pathlib.Path(pydicom.data.__file__).parent.rglob("*")
    if path.is_file() and (path.suffix == ".dcm" or path.read_bytes()[128:132] == b"DICM")
)
RAMP = np.arange(-1200, 1200, 10, dtype=np.int16).reshape(12, 20)  # Hounsfield units


def pixels_of(content: bytes, window: Window | None = None, frame: int | None = None):
    """The decoded PNG file that a DICOM file becomes."""
    png = convert(content, "x.dcm", window, frame)
    assert (png[:4], png[24]) == (b"\x89PNG", 8)
    return np.asarray(Image.open(io.BytesIO(png)))


def pydicom_pixels(content: bytes) -> np.ndarray:
    """The middle frame by pydicom's functions on the whole array, uint8."""
    dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    pixels = dataset.pixel_array
    if int(dataset.get("NumberOfFrames") or 1) > 1:
        pixels = pixels[len(pixels) // 2]
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, dataset)
        return np.rint(pixels / np.iinfo(pixels.dtype).max * 255)
    if dataset.SamplesPerPixel == 3:
        return np.rint(pixels / (2.0**dataset.BitsStored - 1) * 255)
    values = apply_voi_lut(apply_modality_lut(pixels, dataset), dataset).astype(float)
    low, high = values.min(), values.max()
    if "WindowCenter" in dataset:  # black and white are the ends of the stored values' range
        bits, signed = dataset.BitsStored, dataset.PixelRepresentation
        ends = np.array([-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] if signed else [0, 2**bits - 1])
        low, high = ends * float(dataset.get("RescaleSlope", 1)) + float(
            dataset.get("RescaleIntercept", 0)
        )
    elif dataset.BitsStored <= 8:
        low, high = 0, 2**dataset.BitsStored - 1
    levels = (values - low) / max(high - low, 1) * 255
    return 255 - levels if dataset.PhotometricInterpretation == "MONOCHROME1" else levels


def test_every_bundled_image_is_read_as_by_pydicom_or_refused_in_one_line():
    read, refused = 0, {}
    for path in BUNDLED:
        content = path.read_bytes()
        try:
            pixels = pixels_of(content)
        except UnusableFile as error:
            refused[path.name] = error.strerror
            continue
        expected = pydicom_pixels(content)
        assert pixels.shape == expected.shape, path
        assert np.abs(pixels - expected).max() <= 1, path
        read += 1
    assert read >= 90
    assert not [text for text in refused.values() if "\n" in text or len(text) > 300]
    without = (dicom.NO_IMAGE, "DICOM without pixel data")
    assert sorted(name for name, text in refused.items() if text not in without) == [
        "JPEG-lossy.dcm",
        "JPEG2000-embedded-sequence-delimiter.dcm",
        "MR_truncated.dcm",
        "badVR.dcm",
    ]


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("lung", Window(-600, 1500)),
        ("Mediastinum", Window(50, 350)),
        ("bone", Window(400, 1800)),
        ("-600, 1500", Window(-600, 1500)),
        ("40.5,1", Window(40.5, 1)),
    ],
)
def test_a_window_replaces_that_of_the_file(text, window):
    assert parse_window(text) == window
    content = dicom_content(
        RAMP + 1024, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=0, WindowWidth=5
    )
    pixels = pixels_of(content, parse_window(text))
    dataset = Dataset()
    dataset.WindowCenter, dataset.WindowWidth = window
    dataset.BitsStored, dataset.PixelRepresentation = 8, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    assert np.abs(pixels - apply_voi_lut(RAMP, dataset)).max() <= 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("abdomen", "give CENTER,WIDTH, as 40,400, or one of lung, mediastinum, bone"),
        ("40", "give CENTER,WIDTH, as 40,400, or one of lung, mediastinum, bone"),
        ("1,2,3", "give CENTER,WIDTH, as 40,400, or one of lung, mediastinum, bone"),
        ("40,0.5", "WIDTH must be at least 1"),
        ("40,-400", "WIDTH must be at least 1"),
        ("nan,400", "CENTER and WIDTH must be finite numbers"),
        ("40,inf", "CENTER and WIDTH must be finite numbers"),
    ],
)
def test_wrong_windows(text, problem):
    with pytest.raises(InputError) as error:
        parse_window(text)
    assert str(error.value) == f"--window={text}: {problem}"


def test_monochrome1_is_inverted():
    tags = {"RescaleSlope": 1, "RescaleIntercept": 0}
    upright = pixels_of(dicom_content(RAMP, **tags))
    inverted = pixels_of(dicom_content(RAMP, PhotometricInterpretation="MONOCHROME1", **tags))
    assert (upright[0, 0], upright[-1, -1]) == (0, 255)
    np.testing.assert_array_equal(inverted, 255 - upright)
    lung = NAMED_WINDOWS["lung"]
    np.testing.assert_array_equal(
        pixels_of(dicom_content(RAMP, PhotometricInterpretation="MONOCHROME1", **tags), lung),
        255 - pixels_of(dicom_content(RAMP, **tags), lung),
    )


def test_frames(tmp_path):
    frames = np.arange(5, dtype=np.uint8)[:, None, None] * 50 * np.ones((1, 4, 6), np.uint8)
    path = write_dicom(tmp_path / "series.dcm", frames)
    assert [pixels_of(dicom_content(frames), frame=k).max() for k in range(5)] == [
        0,
        50,
        100,
        150,
        200,
    ]
    assert pixels_of(dicom_content(frames)).max() == 100  # the middle
    other = tmp_path / "a.png"
    other.write_bytes(encode(random_picture(4, 4)))
    assert with_all_frames([path, str(other)]) == [
        *(f"{path}!{n}" for n in range(1, 6)),
        str(other),
    ]
    assert read_image_file(f"{path}!2") == convert(dicom_content(frames), "x", frame=1)
    with pytest.raises(UnusableFile, match=r"series.dcm: no frame 6; it has 5"):
        read_image_file(f"{path}!6")
    with pytest.raises(UnusableFile, match=r"a.png: no DICOM file, so it has no frames"):
        read_image_file(f"{other}!1")


def test_frames_with_windows_of_their_own():
    """An enhanced multi-frame image, whose functional groups have rescaling and windows."""
    values = np.stack([RAMP, RAMP]) + 1024
    shared, groups = Dataset(), []
    transformation = Dataset()
    transformation.RescaleSlope, transformation.RescaleIntercept = 1, -1024
    shared.PixelValueTransformationSequence = [transformation]
    for center, width in ((-600, 1500), (400, 1800)):
        group, window = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, width
        group.FrameVOILUTSequence = [window]
        groups.append(group)
    content = dicom_content(
        values,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=groups,
    )
    plain = dicom_content(RAMP, RescaleSlope=1, RescaleIntercept=0)
    for frame, name in enumerate(("lung", "bone")):
        expected = pixels_of(plain, NAMED_WINDOWS[name]).astype(int)
        assert np.abs(pixels_of(content, frame=frame) - expected).max() <= 1


def test_a_lookup_table_of_the_file():
    table = Dataset()
    table.LUTDescriptor = [256, 0, 16]
    table.LUTData = np.arange(65280, -1, -256, dtype=np.uint16).tobytes()
    content = dicom_content(np.arange(256, dtype=np.uint8).reshape(16, 16), VOILUTSequence=[table])
    pixels = pixels_of(content)
    assert np.abs(pixels - np.arange(255, -1, -1).reshape(16, 16)).max() <= 1


def compressed(frame: bytes, syntax: str, **tags) -> bytes:
    """A file of 8 x 8 pixels, with any compressed frame."""
    dataset = pydicom.dcmread(io.BytesIO(dicom_content(np.zeros((8, 8), np.uint8), **tags)))
    dataset.PixelData = encapsulate([frame])
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()


def jpeg_without_height() -> bytes:
    """A JPEG file of 8 pixels' width, whose height is to follow after the scan."""
    content = bytearray(encode(random_picture(8, 8), "JPEG"))
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 7] = b"\0\0"
    return bytes(content)


def deflated(size: int) -> bytes:
    """A deflated file with a private element of `size` zeros."""
    dataset = pydicom.dcmread(io.BytesIO(dicom_content(np.zeros((8, 8), np.uint8))))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    buffer = io.BytesIO()
    dataset.save_as(buffer, implicit_vr=False, little_endian=True)
    content = buffer.getvalue()
    start = 144 + int.from_bytes(content[140:144], "little")
    pack = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    packed = [pack.compress(body), *(pack.compress(bytes(2**20)) for _ in range(size // 2**20))]
    return content[:start] + b"".join(packed) + pack.flush()


WHOLE = dicom_content(RAMP)
SQUARE = np.zeros((8, 8), np.uint8)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (WHOLE[:-100], r"damaged DICOM \(The number of bytes of pixel data is less than expected"),
        (WHOLE[:300], "DICOM without an image"),
        (bytes(128) + b"DICM" + bytes(200), "DICOM without an image"),
        (b"no DICOM", "DICOM without an image"),
        (dicom_content(SQUARE, Rows=60000, Columns=60000), "too many pixels: 60000 x 60000"),
        (dicom_content(SQUARE, Rows=0), "no pixels"),
        (dicom_content(SQUARE, NumberOfFrames=2_000_000_000), r"damaged DICOM \(2000000000 frames"),
        (dicom_content(SQUARE, WindowCenter=4, WindowWidth=0), "unusable window .*; give --window"),
        (dicom_content(SQUARE, BitsAllocated=12), "damaged DICOM"),
        (compressed(b"\xff\xd8\xff\xe0", JPEGBaseline8Bit), "damaged DICOM"),
        (
            compressed(encode(random_picture(64, 32), "JPEG"), JPEGBaseline8Bit),
            r"damaged DICOM \(a frame of 32 x 64 pixels, not 8 x 8\)",
        ),
        (
            compressed(jpeg_without_height(), JPEGBaseline8Bit),
            r"damaged DICOM \(a frame of 8 x 0 pixels, not 8 x 8\)",
        ),
        (
            compressed(
                b"\xff\x4f\xff\x51" + bytes(4) + b"\0\1\0\0" * 2 + bytes(24) + b"\0\1",
                JPEG2000Lossless,
            ),
            r"damaged DICOM \(a frame of 65536 x 65536 pixels, not 8 x 8\)",
        ),
        (deflated(2**28 + 2**20), r"too large \(inflates to more than 268435456 bytes\)"),
    ],
)  # fmt: skip
def test_files_that_are_refused(content, problem):
    with pytest.raises(UnusableFile, match=f"x.dcm: {problem}") as error:
        convert(content, "x.dcm")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_a_deflated_file_is_read():
    np.testing.assert_array_equal(pixels_of(deflated(0)), SQUARE)


@pytest.mark.parametrize("image_format", ["JPEG", "JPEG2000"])
def test_the_size_of_a_compressed_frame(image_format):
    options = {"no_jp2": True} if image_format == "JPEG2000" else {}
    assert codestream_size(encode(random_picture(30, 20), image_format, **options)) == (20, 30)
    assert codestream_size(b"\xff\xd8\xff\xe0\0\2\xff") is None
    assert codestream_size(b"RLE") is None


def test_a_header(tmp_path):
    path = write_dicom(
        tmp_path / "IM0001",
        RAMP,
        PatientID="P-4711",
        PatientName="Doe^Jane",
        OtherPatientIDs=["A17", "B18"],
        SeriesInstanceUID="1.2.3",
        Manufacturer="GE MEDICAL SYSTEMS",
        ManufacturerModelName="LightSpeed",
        KVP="120.0",
        SliceThickness="1.25",
        ConvolutionKernel=["B30f", "soft"],
        StudyDate="20200317",
    )
    header = dicom.read_header(path)
    assert header._replace(factors={}) == (
        "P-4711",
        "1.2.3",
        ("Doe^Jane",),
        ("P-4711", "A17", "B18"),
        1,
        {},
    )
    assert header.factors == {
        "Manufacturer": "GE MEDICAL SYSTEMS",
        "ManufacturerModelName": "LightSpeed",
        "StationName": "",
        "InstitutionName": "",
        "KVP": "120",
        "ConvolutionKernel": "B30f, soft",
        "SliceThickness": "1.25",
        "StudyYear": "2020",
    }
    os.mkfifo(tmp_path / "pipe.dcm")
    with pytest.raises(UnusableFile, match="not a regular file"):
        dicom.read_header(str(tmp_path / "pipe.dcm"))


def test_without_pydicom(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    dicom.available.cache_clear()
    try:
        with pytest.raises(UnusableFile) as error:
            convert(WHOLE, "x.dcm")
    finally:
        dicom.available.cache_clear()
    assert str(error.value) == "x.dcm: DICOM, which needs pip install 'covid_lm[dicom]'"
