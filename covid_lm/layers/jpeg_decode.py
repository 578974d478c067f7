"""Decoding of JPEG files, of several scans and without their end marker, too."""

from typing import NamedTuple

import tensorflow as tf

# Limit the time that crafted JPEG files take: each scan costs time for every pixel.
_MAX_SCANS, _MAX_SCANNED_PIXELS = 100, 2**30
_END = b"\xff\xd9"
# Continuations of cut JPEG data that decode to different pixels; libjpeg's own is zeros.
_FILLS = tuple(bytes((29 * k * k + 83 * k + seed) % 251 for k in range(96)) for seed in (7, 170))


class JpegScans(NamedTuple):
    """The scans of one JPEG file.

    Attributes:
        data: the file's bytes from the first scan header on, uint8 [n].
        positions: of the scan headers in `data`, before the first end marker, int64 [scans].
        has_end: scalar bool, true if there is an end marker.
    """

    data: tf.Tensor
    positions: tf.Tensor
    has_end: tf.Tensor


def jpeg_scans(image_bytes: tf.Tensor, start: tf.Tensor) -> JpegScans:
    """Finds the scans of a file, scalar string, whose first scan header is at `start`, int64."""
    length = tf.strings.length(image_bytes)
    data = tf.strings.substr(image_bytes, tf.cast(start, tf.int32), length)
    data = tf.io.decode_raw(data, tf.uint8)
    # Coded data has no such pairs of bytes.
    is_marker = data[:-1] == 0xFF
    scans = tf.where(is_marker & (data[1:] == 0xDA))[:, 0]
    ends = tf.where(is_marker & (data[1:] == 0xD9))[:, 0]
    first_end = tf.concat([ends, [tf.size(data, tf.int64)]], 0)[0]
    return JpegScans(data, tf.boolean_mask(scans, scans < first_end), tf.size(ends) > 0)


def jpeg_scans_allowed(count: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """True if images of so many scans and pixels, int64 [...], are decoded: bool [...]."""
    return (count <= _MAX_SCANS) & (count * pixels <= _MAX_SCANNED_PIXELS)


def decode_jpeg(image_bytes: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG of one scan, scalar string, with libjpeg's accurate DCT."""
    return tf.io.decode_jpeg(image_bytes, channels=3, dct_method="INTEGER_ACCURATE")


def decode_jpeg_scans(image_bytes: tf.Tensor, parts: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG of any number of scans, also without its end marker if all scans are there."""
    data, scans, has_end = jpeg_scans(image_bytes, parts[0])
    few = jpeg_scans_allowed(tf.size(scans, tf.int64), tf.reduce_prod(size))
    # An empty file raises an error, without the Assert op, which logs its input.
    accepted = tf.where(few, image_bytes, "")

    def without_end() -> tf.Tensor:
        # A last 0xFF is the first half of a marker, or of a byte of data that is then missing.
        last = tf.cast(data[-1] == 0xFF, tf.int32)
        cut = tf.strings.substr(accepted, 0, tf.strings.length(accepted) - last)
        # If data is missing, the pixels depend on what is in its place. It can begin with the next
        # restart marker.
        restarts = tf.where((data[:-1] == 0xFF) & (data[1:] // 8 == 0xD0 // 8))[:, 0]
        number = tf.reduce_sum(tf.cast(restarts > scans[-1], tf.int32)) % 8
        restart = tf.gather([bytes([0xFF, 0xD0 + k]) for k in range(8)], number)
        pixels = decode_jpeg(cut + _END)
        complete = _all_coefficients(data, scans, parts[1])
        for fill in _FILLS:
            # One after the other, for less memory.
            with tf.control_dependencies([pixels, complete]):
                other = decode_jpeg(tf.strings.join([cut, fill, restart, fill, _END]))
                complete &= tf.reduce_all(pixels == other)
        return tf.cond(complete, lambda: pixels, lambda: decode_jpeg(tf.constant(b"")))

    return tf.cond(has_end, lambda: decode_jpeg(accepted), without_end)


def _all_coefficients(data: tf.Tensor, scans: tf.Tensor, components: tf.Tensor) -> tf.Tensor:
    """True if the scans at these positions give every coefficient to its last bit, scalar bool."""
    count = tf.cast(tf.gather(data, scans + 4), tf.int64)
    fields = tf.gather(data, (scans + 5 + 2 * count)[:, None] + tf.range(3, dtype=tf.int64))
    first, last, bits = tf.unstack(tf.cast(fields, tf.int64), axis=1)
    given = tf.where(bits % 16 == 0, count * (last - first + 1), 0)
    return tf.reduce_sum(given) >= 64 * components
