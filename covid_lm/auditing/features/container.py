"""Features of a file that need no pixels: its first bytes, its format and its metadata."""

import collections
import hashlib
import os
import re
import struct
from collections.abc import Sequence

from PIL import ExifTags, Image

NUM_FIRST_BYTES = 64
MAX_VALUE_LENGTH = 64
USUAL_SHARE = 0.85
UNUSUAL_BYTE = "a first byte is unusual for the format"
_JPEG_SEGMENTS = {
    **{0xE0 + n: f"APP{n}" for n in range(16)},
    **{0xC0: "SOF0", 0xC1: "SOF1", 0xC2: "SOF2", 0xC4: "DHT", 0xDA: "SOS", 0xDB: "DQT"},
    **{0xDD: "DRI", 0xFE: "COM"},
}
_BITS = {"1": 1, "I": 32, "F": 32}
# A JPEG file of several images is a JPEG file; a TIFF file is read as PNG.
_FORMATS = {"MPO": "JPEG", "TIFF": "PNG"}


def extension(filename: str) -> str:
    """The lower-cased extension with its dot; empty if there is none."""
    return os.path.splitext(filename)[1].lower()


def extension_mismatch(filename: str, image_format: str) -> bool:
    """True if the extension belongs to another format; an unknown extension matches any."""
    known = Image.registered_extensions().get(extension(filename), image_format)
    return _FORMATS.get(known, known) != image_format


def first_bytes(payload: bytes) -> tuple[str, ...]:
    """The first 64 bytes as facts, such as "byte 4 is 0d".

    In a PNG they end two bytes into the compressed pixels: these two bytes depend on the encoder's
    settings, the following ones on the image.
    """
    end = NUM_FIRST_BYTES
    if payload.startswith(b"\x89PNG"):
        data = payload.find(b"IDAT", 0, end)
        end = end if data < 0 else min(end, data + 6)
    return tuple(f"byte {i} is {value:02x}" for i, value in enumerate(payload[:end]))


def unusual_bytes(files: Sequence[tuple[str, tuple[str, ...]]]) -> list[tuple[str, ...]]:
    """A fact on the files with a first byte that 85% of the files of their format don't have.

    A rare encoder writes other bytes into PNG and JPEG files: single ones are in half of its files.
    Bytes that differ between files by design, such as checksums, are none.

    Args:
        files: format and `first_bytes` of each file.
    """
    counts = collections.Counter((kind, fact) for kind, facts in files for fact in facts)
    totals = collections.Counter(kind for kind, _ in files)
    usual = {
        (kind, fact.split(" is ")[0]): fact
        for (kind, fact), count in counts.items()
        if count >= USUAL_SHARE * totals[kind]
    }
    return [
        (UNUSUAL_BYTE,) if any(usual.get((kind, f.split(" is ")[0]), f) != f for f in facts) else ()
        for kind, facts in files
    ]


def encoder_facts(payload: bytes, image: Image.Image) -> tuple[str, ...]:
    """An encoder's settings: the parts of the file, and JPEG's quantization and subsampling.

    Metadata are other checks, so a PNG's chunks before its pixels and a JPEG's segments count by
    kind only.
    """
    if payload.startswith(b"\x89PNG"):
        kinds = _png_chunks(payload)
        facts = [f"PNG with {kind}" for kind in sorted({*kinds} - {"IHDR", "IEND"})]
        return (*facts, f"PNG interlacing {payload[28]}")
    if not payload.startswith(b"\xff\xd8"):
        return ()
    kinds = _jpeg_segments(payload)
    facts = [f"JPEG with {kind}" for kind in sorted({*kinds})]
    facts.append(f"JPEG with {kinds.count('DHT')} DHT and {kinds.count('DQT')} DQT segment(s)")
    tables = getattr(image, "quantization", {})
    for number, table in sorted(tables.items()):
        facts.append(f"JPEG table {number} starts with {' '.join(map(str, table[:6]))}")
    sampling = "x".join(str(part) for layer in getattr(image, "layer", []) for part in layer[1:3])
    return (*facts, f"JPEG sampling {sampling}")


def _png_chunks(payload: bytes) -> list[str]:
    kinds, place = [], 8
    while place + 8 <= len(payload):
        length, kind = struct.unpack(">I4s", payload[place : place + 8])
        kinds.append(kind.decode("latin-1"))
        place += 12 + length
    return kinds


def _jpeg_segments(payload: bytes) -> list[str]:
    """Kinds of the segments before the pixels."""
    kinds, place = [], 2
    while place + 4 <= len(payload) and payload[place] == 0xFF:
        marker, length = struct.unpack(">xBH", payload[place : place + 4])
        kinds.append(_JPEG_SEGMENTS.get(marker, f"segment {marker:02x}"))
        if kinds[-1] == "SOS":
            break
        place += 2 + length
    return kinds


def image_format(image: Image.Image) -> str:
    """Pillow's name of the format; "JPEG" for JPEG files of several images, too."""
    return _FORMATS.get(str(image.format), str(image.format))


def bit_depth(payload: bytes, mode: str) -> int:
    """Bits per channel: from the header of a PNG, otherwise from Pillow's mode."""
    if payload.startswith(b"\x89PNG") and len(payload) > 24:
        return payload[24]
    return 16 if mode.startswith("I;16") else _BITS.get(mode, 8)


def metadata_facts(image: Image.Image) -> tuple[str, ...]:
    """Keys and values of EXIF, XMP, ICC, PNG text, Photoshop blocks and other metadata.

    Args:
        image: a loaded image (the text after a PNG's pixels is read only by loading).

    Returns:
        Sorted facts such as "has Software" and "Software is 'GIMP'". A long or binary value is
        given as its length and the start of its SHA-256.
    """
    # EXIF is read by tag below; JFIF's header is among the first 64 bytes, another check.
    skipped = {"exif", *(("dpi",) if "jfif" in image.info else ())}
    facts = set()
    for key, value in image.info.items():
        if key in skipped or str(key).startswith("jfif"):
            continue
        if key == "photoshop" and isinstance(value, dict):
            facts |= {"has photoshop", *(f"has photoshop block {n:#06x}" for n in value)}
            continue
        facts |= _entry_facts(key, value)
        if key in ("xmp", "XML:com.adobe.xmp"):
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
            names = re.findall(r"[<\s/](\w+:\w+)[=>]", text)
            facts |= {f"has xmp {name}" for name in names if not name.startswith("xmlns:")}
    try:
        exif = image.getexif()
        entries = [*exif.items(), *exif.get_ifd(ExifTags.IFD.Exif).items()]
    except (OSError, SyntaxError, ValueError, TypeError, struct.error):
        entries = []  # a damaged block counts as none: the image itself was decoded
    for tag, value in entries:
        facts |= _entry_facts(f"EXIF {ExifTags.TAGS.get(tag, hex(tag))}", value)
    return tuple(sorted(facts))


def _entry_facts(key: object, value: object) -> set[str]:
    text = repr(value)
    if isinstance(value, bytes):
        text = f"{len(value)} bytes {hashlib.sha256(value).hexdigest()[:8]}"
    elif len(text) > MAX_VALUE_LENGTH:
        digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
        text = f"{len(text)} characters {digest[:8]}"
    return {f"has {key}", f"{key} is {text}"}
