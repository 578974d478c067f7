"""Reasons why an image is not valid: the only place that words them."""

import tensorflow as tf

EMPTY = "empty"
NOT_AN_IMAGE = "not an image"
NOT_SUPPORTED = "format not supported: "
TOO_MANY_PIXELS = "too many pixels: "
DAMAGED = "truncated or damaged"

# Formats that are recognized to be named: offset and magic bytes, then the name.
_MAGIC = {
    (0, b"II*\0"): "TIFF",
    (0, b"MM\0*"): "TIFF",
    (0, b"II+\0"): "TIFF",
    (0, b"MM\0+"): "TIFF",
    (128, b"DICM"): "DICOM",
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
# Texts; a byte order mark, an XML declaration, comments and a document type may come first.
_MARKUP_START = r"(?is)(\x{FEFF}|\s|<\?\C*\?>|<!--\C*-->|<!doctype[^>]*>)*"
_MARKUP = {
    r"<svg[\s>]\C*": "SVG",
    r"(<!doctype html|<(html|head|body)[\s>])\C*": "HTML",
}
_START_BYTES = 512


def invalid_reasons(
    image_bytes: tf.Tensor, sizes: tf.Tensor, too_large: tf.Tensor, unsupported: tf.Tensor
) -> tf.Tensor:
    """Words the reasons, as if none of the images were valid.

    Args:
        image_bytes: string [batch].
        sizes: int64 [batch, 2], heights and widths in pixels.
        too_large: bool [batch], true where the size is over the limit.
        unsupported: string [batch], name of a variant that is recognized and not read, or "".

    Returns:
        string [batch].
    """
    height, width = (tf.strings.as_string(sizes[:, side]) for side in (0, 1))
    size = tf.strings.join([TOO_MANY_PIXELS, width, " x ", height])
    reasons = tf.where(too_large, size, DAMAGED)
    reasons = tf.where(unsupported != "", NOT_SUPPORTED + unsupported, reasons)
    return tf.where(image_bytes == "", EMPTY, reasons)


def unknown_reasons(image_bytes: tf.Tensor) -> tf.Tensor:
    """Words the reasons of files of no supported format: string [batch] to string [batch]."""
    start = tf.strings.substr(image_bytes, 0, _START_BYTES)
    padded = tf.strings.join([start, b"\0" * _START_BYTES])[:, None]
    offsets = tf.constant([[offset for offset, _ in _MAGIC]])
    lengths = tf.constant([[len(magic) for _, magic in _MAGIC]])
    rows = tf.zeros_like(tf.strings.length(padded))
    found = tf.strings.substr(
        padded + tf.fill([1, len(_MAGIC)], ""), rows + offsets, rows + lengths
    )
    is_format = found == [[magic for _, magic in _MAGIC]]  # [batch, magics]
    names = tf.gather([*_MAGIC.values(), ""], _first(is_format))
    is_markup = [tf.strings.regex_full_match(start, _MARKUP_START + text) for text in _MARKUP]
    texts = tf.gather([*_MARKUP.values(), ""], _first(tf.stack(is_markup, axis=1)))
    names += texts  # no text starts with magic bytes
    return tf.where(names == "", NOT_AN_IMAGE, NOT_SUPPORTED + names)


def _first(conditions: tf.Tensor) -> tf.Tensor:
    """Index of the first true value in each row of bool [batch, n], n if none is: int64 [batch]."""
    last = tf.ones_like(conditions[:, :1])
    return tf.argmax(tf.concat([conditions, last], axis=1), axis=1)
