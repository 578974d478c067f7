"""Reasons why an image is not valid: the only place that words them."""

import tensorflow as tf

from covid_lm.layers.image_header import (
    JPEG,
    UNKNOWN,
    bmp_variants,
    pixel_count,
    sizes_allowed,
    uncommon,
)
from covid_lm.layers.image_inspection import Inspection
from covid_lm.layers.image_kinds import MAGIC, MARKUP, NOT_AN_IMAGE, START_BYTES
from covid_lm.layers.jpeg_decode import jpeg_scans, jpeg_scans_allowed

EMPTY = "empty"
NOT_SUPPORTED = "format not supported: "
TOO_MANY_PIXELS = "too many pixels: "
TOO_MANY_SCANS = "too many scans: "
DAMAGED = "truncated or damaged"

# JPEG's coding processes that are not read, by the marker of the frame header.
_JPEG_NAMES = {
    **dict.fromkeys((0xC3, 0xCB), "lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
    **dict.fromkeys((0xC9, 0xCA), "arithmetic-coded JPEG"),
    0xF7: "JPEG-LS",
}
# Texts; a byte order mark, an XML declaration, comments and a document type may come first.
_MARKUP_START = r"(?is)(\x{FEFF}|\s|<\?\C*\?>|<!--\C*-->|<!doctype[^>]*>)*"


def image_reasons(image_bytes: tf.Tensor, seen: Inspection, valid: tf.Tensor) -> tf.Tensor:
    """Reasons why images are not valid, string [batch], "" for those that are, bool [batch]."""
    none = tf.zeros_like(image_bytes)

    def known() -> tf.Tensor:
        too_large = tf.reduce_all(seen.sizes > 0, 1) & ~sizes_allowed(seen.sizes, seen.max_pixels)
        variants = bmp_variants(seen.headers, seen.formats)
        process, precision = seen.parts[:, 2], seen.parts[:, 3]
        names = tf.gather([_JPEG_NAMES.get(marker, "") for marker in range(256)], process % 256)
        names = tf.where((names == "") & (precision == 12), "12-bit JPEG", names)
        variants = tf.where(seen.formats == JPEG, names, variants)
        scans = _excess_scans(image_bytes, seen, valid)
        return invalid_reasons(image_bytes, seen.sizes, too_large, variants, scans)

    def unknown() -> tf.Tensor:
        is_unknown = (seen.formats == UNKNOWN) & (image_bytes != "")
        return tf.where(is_unknown, unknown_reasons(image_bytes), known())

    reasons = tf.cond(
        tf.reduce_all(valid),
        lambda: none,
        uncommon(lambda: tf.cond(tf.reduce_any(seen.formats == UNKNOWN), unknown, known)),
    )
    return tf.where(valid, none, reasons)


def _excess_scans(image_bytes: tf.Tensor, seen: Inspection, valid: tf.Tensor) -> tf.Tensor:
    """Numbers of scans, int64 [batch], of JPEG files that were not decoded for them, else 0."""
    none = tf.zeros_like(seen.max_pixels)
    rows = tf.where((seen.formats == JPEG) & seen.decodable & ~seen.common & ~valid)

    def counted() -> tf.Tensor:
        counts = tf.map_fn(
            lambda row: tf.size(
                jpeg_scans(image_bytes[row], seen.parts[row, 0]).positions, tf.int64
            ),
            rows[:, 0],
            fn_output_signature=tf.int64,
            parallel_iterations=1,  # for less memory
        )
        counts = tf.tensor_scatter_nd_update(none, rows, counts)
        allowed = jpeg_scans_allowed(counts, pixel_count(seen.sizes))
        return tf.where(allowed, none, counts)

    return tf.cond(tf.size(rows) > 0, counted, lambda: none)


def invalid_reasons(
    image_bytes: tf.Tensor,
    sizes: tf.Tensor,
    too_large: tf.Tensor,
    unsupported: tf.Tensor,
    excess_scans: tf.Tensor,
) -> tf.Tensor:
    """Words the reasons, as if none of the images were valid.

    Args:
        image_bytes: string [batch].
        sizes: int64 [batch, 2], heights and widths in pixels.
        too_large: bool [batch], true where the size is over the limit.
        unsupported: string [batch], name of a variant that is recognized and not read, or "".
        excess_scans: int64 [batch], number of scans where over the limit, else 0.

    Returns:
        string [batch].
    """
    height, width = (tf.strings.as_string(sizes[:, side]) for side in (0, 1))
    size = tf.strings.join([TOO_MANY_PIXELS, width, " x ", height])
    scans = tf.strings.join([TOO_MANY_SCANS, tf.strings.as_string(excess_scans)])
    reasons = tf.where(too_large, size, tf.where(excess_scans > 0, scans, DAMAGED))
    reasons = tf.where(unsupported != "", NOT_SUPPORTED + unsupported, reasons)
    return tf.where(image_bytes == "", EMPTY, reasons)


def unknown_reasons(image_bytes: tf.Tensor) -> tf.Tensor:
    """Words the reasons of files of no supported format: string [batch] to string [batch]."""
    start = tf.strings.substr(image_bytes, 0, START_BYTES)
    padded = tf.strings.join([start, b"\0" * START_BYTES])[:, None]
    offsets = tf.constant([[offset for offset, _ in MAGIC]])
    lengths = tf.constant([[len(magic) for _, magic in MAGIC]])
    rows = tf.zeros_like(tf.strings.length(padded))
    found = tf.strings.substr(padded + tf.fill([1, len(MAGIC)], ""), rows + offsets, rows + lengths)
    is_format = found == [[magic for _, magic in MAGIC]]  # [batch, magics]
    names = tf.gather([*MAGIC.values(), ""], _first(is_format))
    is_markup = [
        tf.strings.regex_full_match(start, rf"{_MARKUP_START}{tag}\C*") for tag in MARKUP.values()
    ]
    texts = tf.gather([*MARKUP, ""], _first(tf.stack(is_markup, axis=1)))
    names += texts  # no text starts with magic bytes
    return tf.where(names == "", NOT_AN_IMAGE, NOT_SUPPORTED + names)


def _first(conditions: tf.Tensor) -> tf.Tensor:
    """Index of the first true value in each row of bool [batch, n], n if none is: int64 [batch]."""
    last = tf.ones_like(conditions[:, :1])
    return tf.argmax(tf.concat([conditions, last], axis=1), axis=1)
