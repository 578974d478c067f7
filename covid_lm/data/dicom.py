"""DICOM files: the facts that a header gives. Needs the extra `dicom`, and no numpy."""

import contextlib
import functools
import io
import logging
import os
import warnings
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, NamedTuple

from covid_lm.data.windows import NotConverted
from covid_lm.errors import reason
from covid_lm.files import FILE_BYTES, check_file, is_remote, open_file, read_bytes
from covid_lm.layers.image_kinds import NOT_AN_IMAGE

MISSING = "DICOM, which needs pip install 'covid_lm[dicom]'"
NO_IMAGE = "DICOM without an image"
EXTENSIONS = (".dcm", ".dicom", ".ima")  # of files that may lack the mark
MARK, MARK_PLACE = b"DICM", 128
MAX_FRAMES = 100_000
PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
EQUIPMENT = (
    *("Manufacturer", "ManufacturerModelName", "StationName", "InstitutionName"),
    *("KVP", "ConvolutionKernel", "SliceThickness"),
)
NAMES = ("PatientName", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName")
IDENTIFIERS = ("PatientID", "OtherPatientIDs", "AccessionNumber")
HEADER = (
    *("Rows", "Columns", "NumberOfFrames", "StudyDate", "SeriesInstanceUID", "StudyInstanceUID"),
    *(*EQUIPMENT, *NAMES, *IDENTIFIERS),
)
_DEFLATED = b"1.2.840.10008.1.2.1.99"


class Header(NamedTuple):
    """Facts of a DICOM file with an image.

    Attributes:
        patient: PatientID; without one, StudyInstanceUID or SeriesInstanceUID, "" for none.
        series: SeriesInstanceUID, "" for none.
        names, identifiers: of the patient, as they are in the file.
        frames: their number.
        factors: the equipment and the year of the study.
    """

    patient: str
    series: str
    names: tuple[str, ...]
    identifiers: tuple[str, ...]
    frames: int
    factors: dict[str, str]


@functools.cache
def available() -> bool:
    """True if pydicom is installed."""
    try:
        import pydicom
    except ImportError:
        return False
    logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)  # deviations are common
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    return True


def is_dicom(kind: str, start: bytes, path: str) -> bool:
    """True for a file with DICOM's mark, or one of no other kind with a DICOM file's extension.

    Args:
        kind: by its first bytes. A file may have TIFF's first bytes and DICOM's mark.
        start: at least its first 132 bytes.
    """
    if kind == NOT_AN_IMAGE:
        return os.path.splitext(path)[1].lower() in EXTENSIONS
    return bool(kind) and start.startswith(MARK, MARK_PLACE)


def read_header(path: str) -> Header:
    """Reads the facts, without the pixels.

    Raises:
        NotConverted: damaged, without an image, or pydicom isn't installed.
        OSError: as `read_bytes`.
    """
    if not available():
        raise NotConverted(MISSING)
    if is_remote(path):
        return _header(io.BytesIO(read_bytes(path)))
    check_file(path)
    status = os.stat(path)
    return _read_header(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(2**18)  # a tool checks a data set before it loads it
def _read_header(path: str, time: int, size: int) -> Header:
    with open_file(path) as file:
        return _header(file)


def _header(file: BinaryIO) -> Header:
    with errors_in_one_line():
        size = file.seek(0, os.SEEK_END)
        dataset = parsed(file, stop_before_pixels=True, specific_tags=[*HEADER])
        frames = count_frames(dataset, size)
        factors = {name: _text(dataset, name) for name in EQUIPMENT}
        factors["StudyYear"] = _text(dataset, "StudyDate")[:4]
        series, study = (_text(dataset, f"{name}InstanceUID") for name in ("Series", "Study"))
        return Header(
            _text(dataset, "PatientID") or study or series,
            series,
            _texts(dataset, NAMES),
            _texts(dataset, IDENTIFIERS),
            frames,
            factors,
        )


@contextlib.contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Raises NotConverted for any error of pydicom or a decoder, or if there is no pydicom."""
    if not available():
        raise NotConverted(MISSING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except NotConverted:
        raise
    except Exception as error:  # pydicom and its decoders raise errors of any type
        raise NotConverted(f"damaged DICOM ({reason(error)})") from None


def parsed(file: BinaryIO, **options: Any) -> Any:
    """The pydicom data set of a file with an image."""
    import pydicom
    from pydicom.uid import ImplicitVRLittleEndian

    _check_deflated(file)
    file.seek(0)
    dataset = pydicom.dcmread(file, force=True, **options)
    if not (isinstance(dataset.get("Rows"), int) and isinstance(dataset.get("Columns"), int)):
        raise NotConverted(NO_IMAGE)
    if not options and not any(keyword in dataset for keyword in PIXELS):
        raise NotConverted("DICOM without pixel data")
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    return dataset


def _check_deflated(file: BinaryIO) -> None:
    """Refuses a deflated file that would inflate to more than `FILE_BYTES`."""
    file.seek(MARK_PLACE)
    start = file.read(1024)
    if _DEFLATED not in start:
        return
    if start[4:8] != b"\2\0\0\0":
        raise NotConverted("damaged DICOM (deflated, and the length of its first group is missing)")
    file.seek(MARK_PLACE + 16 + int.from_bytes(start[12:16], "little"))
    inflate, waiting, num_bytes = zlib.decompressobj(-zlib.MAX_WBITS), file.read(), 0
    while waiting and not inflate.eof:
        num_bytes += len(inflate.decompress(waiting, 2**24))
        waiting = inflate.unconsumed_tail
        if num_bytes > FILE_BYTES:
            raise NotConverted(f"too large (inflates to more than {FILE_BYTES} bytes)")


def count_frames(dataset: Any, num_bytes: int) -> int:
    """The number of frames, each of which takes some bytes of the file."""
    text = _text(dataset, "NumberOfFrames") or "1"
    if not text.isdecimal() or not 0 < int(text) <= min(MAX_FRAMES, num_bytes):
        raise NotConverted(f"damaged DICOM ({text} frames in {num_bytes} bytes)")
    return int(text)


def _text(dataset: Any, keyword: str) -> str:
    """A value as text: several values with commas, a whole number without a decimal point."""
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            return ""
        if isinstance(value, float):
            return f"{float(value):g}"
        several = not isinstance(value, str) and hasattr(value, "insert")
        return (", ".join(map(str, value)) if several else str(value)).strip()
    except (ValueError, TypeError, LookupError, AttributeError):
        return ""  # of another type than the standard's: as if it were missing


def _texts(dataset: Any, keywords: Iterable[str]) -> tuple[str, ...]:
    values = (part for keyword in keywords for part in _text(dataset, keyword).split(", "))
    return tuple(filter(None, values))
