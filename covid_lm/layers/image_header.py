"""Formats and declared sizes of encoded images, read from their headers before decoding.

A decoder allocates the size that a header declares, and a hundred bytes can declare 50,000 x
50,000 pixels. All ops work on the whole batch and give the same result eagerly, in `Dataset.map`
and in an export. Sources: PNG (W3C) 11.2.1, GIF89a 18, BITMAPINFOHEADER and its successors, the
WebP container specification with RFC 6386 9.1, and the WebP lossless specification 3.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

PNG, JPEG, GIF, BMP, WEBP, UNKNOWN = range(6)

# The resize allocates memory in proportion to the longer side. JPEG and GIF have this limit, too.
MAX_SIDE = 65_535

_HEADER_BYTES = 72
# Formats and the first 16 bytes of their files; -1 for any byte.
_MAGIC = [
    (number, [*magic, *[-1] * (16 - len(magic))])
    for number, magic in (
        (PNG, list(b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR")),
        (JPEG, list(b"\xff\xd8\xff")),
        (GIF, list(b"GIF87a")),
        (GIF, list(b"GIF89a")),
        (BMP, list(b"BM")),
        (WEBP, [*b"RIFF", -1, -1, -1, -1, *b"WEBP"]),
        (UNKNOWN, []),
    )
]
_BMP_INFO_SIZES = (40, 52, 56, 64, 108, 124)
_BMP_UNCOMPRESSED, _BMP_BIT_FIELDS = 0, 3
# Weights of the header's bytes in height, width, bits and colour type.
_PNG_FIELDS = np.zeros([_HEADER_BYTES, 4], np.int64)
_PNG_FIELDS[20:24, 0] = _PNG_FIELDS[16:20, 1] = [2**24, 2**16, 2**8, 1]
_PNG_FIELDS[24, 2] = _PNG_FIELDS[25, 3] = 1
# Masks of red, green and blue that are read, and the bits per pixel.
_BMP_MASKS = {
    (0xFF0000, 0xFF00, 0xFF): 32,
    (0x7C00, 0x3E0, 0x1F): 16,
    (0xF800, 0x7E0, 0x1F): 16,
}


def uncommon(function: Callable[[], Any]) -> Callable[[], Any]:
    """A branch of `tf.cond` that few calls take, as a function of its own in the graph.

    Otherwise its ops become part of the graph, and cost time when the branch is not taken.
    """
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def read_headers(image_bytes: tf.Tensor) -> tf.Tensor:
    """Returns the first bytes of files, string [batch], padded with zeros: int64 [batch, 72]."""
    start = tf.strings.substr(image_bytes, 0, _HEADER_BYTES)
    return tf.cast(tf.io.decode_raw(start, tf.uint8, fixed_length=_HEADER_BYTES), tf.int64)


def image_formats(headers: tf.Tensor) -> tf.Tensor:
    """Recognizes formats by magic bytes: int64 [batch, 72] to int32 [batch], `PNG` to `UNKNOWN`."""
    expected = tf.constant([[max(byte, 0) for byte in magic] for _, magic in _MAGIC], tf.int64)
    is_free = tf.constant([[byte < 0 for byte in magic] for _, magic in _MAGIC])
    start = headers[:, tf.newaxis, : expected.shape[1]]
    is_format = tf.reduce_all((start == expected) | is_free, axis=2)  # [batch, magics]
    # At most one matches, before the last, which always does.
    return tf.gather([number for number, _ in _MAGIC], tf.argmax(is_format, axis=1))


def png_fields(headers: tf.Tensor) -> list[tf.Tensor]:
    """Height, width, bits of a sample and colour type in PNG headers, int64 [batch, 72].

    Returns:
        int64 [batch] each.
    """
    return tf.unstack(tf.linalg.matmul(headers, _PNG_FIELDS), axis=1)


def declared_sizes(headers: tf.Tensor, formats: tf.Tensor) -> tf.Tensor:
    """Reads heights and widths in pixels of GIF, BMP and WebP from the headers: int64 [batch, 2].

    Zeros for other formats, an unusable header or an unsupported variant. The size of a GIF and of
    an animated WebP is that of the whole picture, which can differ from the first frame's.

    Args:
        headers: int64 [batch, 72] from `read_headers`.
        formats: int32 [batch] from `image_formats`.
    """
    gif = tf.stack([little_endian(headers, 8, 2), little_endian(headers, 6, 2)], axis=1)
    sizes = {GIF: gif, BMP: _bmp_sizes(headers), WEBP: _webp_sizes(headers)}
    return tf.add_n([tf.where((formats == kind)[:, None], sizes[kind], 0) for kind in sizes])


def sizes_allowed(sizes: tf.Tensor, max_pixels: tf.Tensor) -> tf.Tensor:
    """Checks that sides are 1 to `MAX_SIDE` and areas at most `max_pixels`: bool [...].

    Args:
        sizes: int64 [..., 2], heights and widths in pixels.
        max_pixels: int64 [...], area of the largest image to allocate.
    """
    sides_allowed = tf.reduce_all((sizes >= 1) & (sizes <= MAX_SIDE), axis=-1)
    return sides_allowed & (pixel_count(sizes) <= max_pixels)


def pixel_count(sizes: tf.Tensor) -> tf.Tensor:
    """Areas, int64 [...], of sizes, int64 [..., 2], with sides limited to `MAX_SIDE`."""
    # The product of two unchecked sides can overflow.
    return tf.reduce_prod(tf.clip_by_value(sizes, 0, MAX_SIDE), axis=-1)


def bmp_variants(headers: tf.Tensor, formats: tf.Tensor) -> tf.Tensor:
    """Names the encodings of BMP files that are not read: string [batch], "" if none.

    Args:
        headers: int64 [batch, 72] from `read_headers`.
        formats: int32 [batch] from `image_formats`.
    """
    run_lengths = is_one_of(little_endian(headers, 30, 4), (1, 2))
    name = tf.where(run_lengths, "run-length encoded BMP", "BMP of a rare kind")
    name = tf.where(little_endian(headers, 26, 2) == 1, name, "")  # one plane, in sound headers
    is_other = (formats == BMP) & ~bmp_is_read(headers)
    return tf.where(is_other, name, "")


def little_endian(values: tf.Tensor, offset: int, length: int) -> tf.Tensor:
    """Decodes unsigned integers, int64 [...], of `length` bytes at `offset` of int64 [..., n]."""
    place = tf.constant([256**i for i in range(length)], tf.int64)
    return tf.reduce_sum(values[..., offset : offset + length] * place, axis=-1)


def big_endian(values: tf.Tensor, offset: int, length: int) -> tf.Tensor:
    """As `little_endian`, with the first byte as the highest."""
    place = tf.constant([256**i for i in reversed(range(length))], tf.int64)
    return tf.reduce_sum(values[..., offset : offset + length] * place, axis=-1)


def bmp_height(headers: tf.Tensor) -> tf.Tensor:
    """Signed heights, int64 [...], of BMP headers, int64 [..., 72]; negative: top row first."""
    height = little_endian(headers, 22, 4)
    return tf.where(height >= 2**31, height - 2**32, height)


def bmp_is_read(headers: tf.Tensor) -> tf.Tensor:
    """True for BMP headers, int64 [batch, 72], of an encoding that is read: bool [batch]."""
    bits, compression = little_endian(headers, 28, 2), little_endian(headers, 30, 4)
    masks = tf.stack([little_endian(headers, offset, 4) for offset in (54, 58, 62)], axis=1)
    plain = (compression == _BMP_UNCOMPRESSED) & is_one_of(bits, (1, 4, 8, 16, 24, 32))
    is_known = tf.reduce_all(masks[:, None] == list(_BMP_MASKS), axis=2) & (
        bits[:, None] == list(_BMP_MASKS.values())
    )
    masked = (compression == _BMP_BIT_FIELDS) & tf.reduce_any(is_known, axis=1)
    return is_one_of(little_endian(headers, 14, 4), _BMP_INFO_SIZES) & (plain | masked)


def _bmp_sizes(headers: tf.Tensor) -> tf.Tensor:
    width = little_endian(headers, 18, 4)  # signed
    width = tf.where(width < 2**31, width, 0)
    sizes = tf.stack([tf.abs(bmp_height(headers)), width], axis=1)
    return tf.where(bmp_is_read(headers)[:, None], sizes, 0)


def _webp_sizes(headers: tf.Tensor) -> tf.Tensor:
    lossless_bits = little_endian(headers, 21, 4)
    lossy = tf.stack([little_endian(headers, 28, 2), little_endian(headers, 26, 2)], axis=1) % 2**14
    lossless = tf.stack([lossless_bits // 2**14, lossless_bits], axis=1) % 2**14 + 1
    canvas = tf.stack([little_endian(headers, 27, 3), little_endian(headers, 24, 3)], axis=1) + 1
    sizes = {b"VP8 ": lossy, b"VP8L": lossless, b"VP8X": canvas}
    is_kind = {kind: _starts_with(headers, 12, kind)[:, None] for kind in sizes}
    return tf.add_n([tf.where(is_kind[kind], size, 0) for kind, size in sizes.items()])


def _starts_with(headers: tf.Tensor, offset: int, expected: bytes) -> tf.Tensor:
    return tf.reduce_all(headers[:, offset : offset + len(expected)] == list(expected), axis=1)


def is_one_of(values: tf.Tensor, accepted: Sequence[int]) -> tf.Tensor:
    """True for integers, [batch], that are among `accepted`: bool [batch]."""
    return tf.reduce_any(values[:, None] == list(accepted), axis=1)
