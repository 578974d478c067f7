"""EXIF orientation: read from encoded images before decoding, applied to their pixels.

A camera that is held upright stores the picture as its sensor sees it, and a number from 1 to 8 for
how to show it. Sources: Exif 3.0 (CIPA DC-008) 4.6 for the fields, 4.7.2 for JPEG; TIFF 6.0 section
2; PNG (W3C) 11.3.4.5; the WebP container specification.
"""

import tensorflow as tf

from covid_lm.layers.image_header import big_endian, little_endian, uncommon
from covid_lm.layers.image_segments import MAX_STEPS, read_values
from covid_lm.layers.jpeg_decode import EXIF_START

# Entries read of the first directory; sorted by tag, about twenty can precede the orientation.
_ENTRIES, _ENTRY_BYTES = 64, 12
_ORDERS = (b"II*\0", b"MM\0*")  # little and big endian
# Tag 0x112, type SHORT, one value.
_ENTRY_STARTS = (b"\x12\x01\x03\0\x01\0\0\0", b"\x01\x12\0\x03\0\0\0\x01")

_WEBP_HEADER_END, _WEBP_HAS_EXIF = 12, 0x08  # the flag is in byte 20, of the chunk VP8X
_CHUNK_START, _PNG_CHECKSUM = 8, 4
# After these the search for a PNG's EXIF ends: the file, or its first frame, is complete.
_PNG_ENDS = (b"IEND", b"fcTL", b"fdAT")

# By orientation, 0 unused: is the picture transposed, then mirrored vertically, horizontally?
_TRANSPOSED = (False,) * 5 + (True,) * 4
_FLIPPED_DOWN = (False, False, False, True, True, False, False, True, True)
_FLIPPED_ACROSS = (False, False, True, True, False, False, True, True, False)


def webp_exif_starts(headers: tf.Tensor, is_webp: tf.Tensor) -> tf.Tensor:
    """Positions, int64 [batch], of the first chunks of WebP files flagged to have EXIF, else 0."""
    flagged = tf.reduce_all(headers[:, 12:16] == list(b"VP8X"), axis=1)
    flagged &= headers[:, 20] // _WEBP_HAS_EXIF % 2 == 1
    return tf.where(is_webp & flagged, tf.constant(_WEBP_HEADER_END, tf.int64), 0)


def exif_orientations(
    image_bytes: tf.Tensor, is_png: tf.Tensor, exif: tf.Tensor, start: tf.Tensor
) -> tf.Tensor:
    """Reads the orientations of JPEG, PNG and WebP files from their EXIF.

    As in web browsers: the first EXIF of a file counts, its orientation has to be of type SHORT
    and 1 to 8, and anything else, or damage, means 1, upright.

    Args:
        image_bytes: string [batch].
        is_png: bool [batch].
        exif: position and length of the first EXIF, int64 [batch, 2], zeros if none is known.
        start: position from which to search the chunks of a PNG or WebP file, int64 [batch], or 0.

    Returns:
        int64 [batch], 1 to 8.
    """
    exif = tf.cond(
        tf.reduce_any(start > 0),
        uncommon(lambda: exif + _find_exif(image_bytes, start, is_png)),
        lambda: exif,
    )
    return tf.cond(
        tf.reduce_any(exif[:, 1] > 0),
        uncommon(lambda: read_orientations(image_bytes, exif)),
        lambda: tf.ones_like(start),
    )


def turn(pixels: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns a picture, uint8 [height, width, 3], as its orientation, scalar int64, demands."""

    def turned() -> tf.Tensor:
        axes = tf.where(tf.gather(_TRANSPOSED, orientation), [1, 0, 2], [0, 1, 2])
        flips = tf.stack([_FLIPPED_DOWN, _FLIPPED_ACROSS, (False,) * len(_TRANSPOSED)], axis=1)
        return tf.raw_ops.Reverse(
            tensor=tf.transpose(pixels, axes), dims=tf.gather(flips, orientation)
        )

    return tf.cond(orientation > 1, turned, lambda: pixels)


def _find_exif(image_bytes: tf.Tensor, start: tf.Tensor, is_png: tf.Tensor) -> tf.Tensor:
    """Walks the chunks of PNG and WebP files from `start`, int64 [batch], 0 for files to leave out.

    Returns the positions and lengths of the contents of the first EXIF chunks, int64 [batch, 2],
    zeros for files without.
    """
    end = tf.cast(tf.strings.length(image_bytes), tf.int64)

    def step(position: tf.Tensor, found: tf.Tensor, active: tf.Tensor) -> tuple[tf.Tensor, ...]:
        inside = tf.where(position <= end, position, 0)[:, None]
        chunk = read_values(image_bytes, inside, tf.uint8, _CHUNK_START)[:, 0]
        name = tf.where(is_png[:, None], chunk[:, 4:], chunk[:, :4])
        length = tf.where(is_png, big_endian(chunk, 0, 4), little_endian(chunk, 4, 4))
        content = position + _CHUNK_START
        active &= content + length <= end
        wanted = tf.where(is_png[:, None], list(b"eXIf"), list(b"EXIF"))
        is_exif = active & tf.reduce_all(name == tf.cast(wanted, tf.int64), axis=1)
        found = tf.where(is_exif[:, None], tf.stack([content, length], axis=1), found)
        is_end = tf.reduce_all(name[:, None] == [list(kind) for kind in _PNG_ENDS], axis=2)
        active &= ~is_exif & ~tf.reduce_any(is_end, axis=1)
        rest = tf.where(is_png, tf.constant(_PNG_CHECKSUM, tf.int64), length % 2)
        return content + length + rest, found, active

    _, found, _ = tf.while_loop(
        lambda position, found, active: tf.reduce_any(active),
        step,
        (start, tf.stack([start, start], axis=1) * 0, start > 0),
        maximum_iterations=MAX_STEPS,
    )
    return found


def read_orientations(image_bytes: tf.Tensor, exif: tf.Tensor) -> tf.Tensor:
    """Orientations, int64 [batch], from EXIF at these positions and lengths, int64 [batch, 2]."""
    start, length = tf.unstack(exif, axis=1)
    # A segment of a cut file can claim more than there is.
    length = tf.minimum(length, tf.cast(tf.strings.length(image_bytes), tf.int64) - start)
    # Some writers put a JPEG segment's first bytes into chunks, too.
    head = read_values(image_bytes, start[:, None], tf.uint8, len(EXIF_START) + 8)[:, 0]
    has_start = tf.reduce_all(head[:, : len(EXIF_START)] == list(EXIF_START), axis=1)
    skipped = tf.where(has_start, tf.constant(len(EXIF_START), tf.int64), 0)
    head = tf.where(has_start[:, None], head[:, len(EXIF_START) :], head[:, :8])
    start, length = start + skipped, length - skipped

    orders = tf.reduce_all(head[:, None, :4] == [list(order) for order in _ORDERS], axis=2)
    is_little = orders[:, 0]
    directory = tf.where(is_little, little_endian(head, 4, 4), big_endian(head, 4, 4))
    readable = tf.reduce_any(orders, axis=1) & (directory + 2 + _ENTRY_BYTES <= length)
    # The start of the file in place of what can't be read.
    place = tf.where(readable, start + directory, 0)[:, None]
    values = read_values(image_bytes, place, tf.uint8, 2 + _ENTRIES * _ENTRY_BYTES)[:, 0]
    count = tf.where(is_little, little_endian(values, 0, 2), big_endian(values, 0, 2))
    count = tf.minimum(count, (length - directory - 2) // _ENTRY_BYTES)
    entries = tf.reshape(values[:, 2:], [-1, _ENTRIES, _ENTRY_BYTES])
    expected = tf.where(is_little[:, None], *([list(entry)] for entry in _ENTRY_STARTS))
    expected = tf.cast(expected, tf.int64)[:, None]  # [batch, 1, 8]
    is_orientation = tf.reduce_all(entries[:, :, :8] == expected, axis=2)
    is_orientation &= tf.range(_ENTRIES, dtype=tf.int64) < count[:, None]
    entry = tf.gather(entries, tf.argmax(is_orientation, axis=1), axis=1, batch_dims=1)
    value = tf.where(is_little, little_endian(entry, 8, 2), big_endian(entry, 8, 2))
    found = readable & tf.reduce_any(is_orientation, axis=1) & (value >= 1) & (value <= 8)
    return tf.where(found, value, 1)
