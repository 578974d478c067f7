"""Kinds of files by their first bytes: the formats that are read, and others by their names.

Imports no TensorFlow.
"""

import re

START_BYTES = 512
NOT_AN_IMAGE = "not an image"
HTML, SVG, TIFF, DICOM = "HTML", "SVG", "TIFF", "DICOM"

# Formats that are recognized to be named: offset and magic bytes, then the name.
MAGIC = {
    **dict.fromkeys([(0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+")], TIFF),
    (128, b"DICM"): DICOM,
    **dict.fromkeys([(4, b"ftyp" + brand) for brand in (b"avif", b"avis")], "AVIF"),
    **dict.fromkeys(
        [(4, b"ftyp" + b) for b in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1")],
        "HEIC",
    ),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n"): "JPEG 2000",
    (0, b"\xff\x4f\xff\x51"): "JPEG 2000",
    (0, b"\0\0\0\x0cJXL \r\n\x87\n"): "JPEG XL",
    (0, b"\xff\x0a"): "JPEG XL",
    (0, b"%PDF-"): "PDF",
    (0, b"version https://git-lfs"): "Git LFS pointer",
}
NAMED_KINDS = frozenset({*MAGIC.values(), HTML, SVG})

PNG_START = b"\x89PNG\r\n\x1a\n"
GRAY, GRAY_ALPHA = 0, 4  # color types of PNG

_READ = re.compile(
    rb"(?s)\x89PNG|\xff\xd8\xff|GIF8[79]a|RIFF....WEBP|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"
)
_BEFORE_MARKUP = re.compile(rb"(?s)\xef\xbb\xbf|\s+|<\?.*?\?>|<!--.*?-->")
_DOCTYPE = re.compile(rb"(?i)<!doctype(?!\s+html)[^>]*>")
# Texts by their first tag, for Python's and for TensorFlow's regular expressions.
MARKUP = {SVG: r"<svg[\s>]", HTML: r"(<!doctype html|<(html|head|body)[\s>])"}
_MARKUP = {name: re.compile(b"(?i)" + tag.encode()) for name, tag in MARKUP.items()}


def kind_of(start: bytes) -> str:
    """The kind of a file with these first `START_BYTES`: "" for a format that is read.

    Files that are recognized have the name that a model's reason gives, others `NOT_AN_IMAGE`.
    """
    if _READ.match(start):
        return ""
    for (offset, magic), name in MAGIC.items():
        if start.startswith(magic, offset):
            return name
    place = 0
    while found := _BEFORE_MARKUP.match(start, place) or _DOCTYPE.match(start, place):
        place = found.end()
    for name, pattern in _MARKUP.items():
        if pattern.match(start, place):
            return name
    return NOT_AN_IMAGE


def is_deep_gray_png(content: bytes) -> bool:
    """True for a gray PNG file of 16 bits, with or without alpha."""
    gray = len(content) > 25 and content[25] in (GRAY, GRAY_ALPHA)
    return gray and content.startswith(PNG_START) and content[24] == 16
