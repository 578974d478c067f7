"""Reasons why an image is not valid: the only place that words them."""

import tensorflow as tf

from covid_lm.layers.image_kinds import MAGIC, MARKUP, NOT_AN_IMAGE, START_BYTES

EMPTY = "empty"
NOT_SUPPORTED = "format not supported: "
TOO_MANY_PIXELS = "too many pixels: "
TOO_MANY_SCANS = "too many scans: "
DAMAGED = "truncated or damaged"

# Texts; a byte order mark, an XML declaration, comments and a document type may come first.
_MARKUP_START = r"(?is)(\x{FEFF}|\s|<\?\C*\?>|<!--\C*-->|<!doctype[^>]*>)*"


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
