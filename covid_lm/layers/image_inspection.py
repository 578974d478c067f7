"""Inspection of encoded images before any is decoded: what they claim, and what that would cost."""

from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from covid_lm.layers.image_header import (
    BMP,
    GIF,
    JPEG,
    PNG,
    UNKNOWN,
    WEBP,
    bmp_is_read,
    bmp_variants,
    declared_sizes,
    image_formats,
    is_one_of,
    little_endian,
    pixel_count,
    png_sizes,
    read_headers,
    sizes_allowed,
)
from covid_lm.layers.image_orientation import exif_orientations, webp_exif_starts
from covid_lm.layers.image_reason import invalid_reasons, unknown_reasons
from covid_lm.layers.image_segments import (
    JpegFrame,
    PngChunks,
    WebpFrame,
    jpeg_frames,
    png_chunks,
    webp_frames,
)
from covid_lm.layers.jpeg_decode import jpeg_scans, jpeg_scans_allowed

# Memory for decoding, of an image and of all that are decoded at the same time; the files' bytes
# and the decoder's copy of them come on top.
DECODER_BYTES = 2**28

# Bytes per pixel that decoding holds at most, measured, the RGB result included. A JPEG of several
# scans is held as coefficients, too, two bytes for each component.
_COMMON_BYTES_PER_PIXEL = 3
_RARE_BYTES_PER_PIXEL = {GIF: 10, BMP: 14, WEBP: 14}
_TURNING_BYTES_PER_PIXEL = 6  # if the picture is turned before it is resized
_BMP_BYTES_PER_PIXEL = {16: 26, 24: 3, 32: 7}
_JPEG_SCANS_BYTES, _JPEG_COEFFICIENT_BYTES = 6, 2
_JPEG_CUT_BYTES = 4  # more without an end marker, where results are compared

# Most that a byte of data decodes to: bits of a PNG (deflate's limit), pixels of a JPEG (a block's
# 64 pixels take at least one bit).
_PNG_BITS_PER_BYTE, _JPEG_PIXELS_PER_BYTE = 8 * 1040, 512
_PNG_CHANNELS = (1, 1, 3, 1, 2, 1, 4, 1)  # by colour type

# JPEG's coding processes by the marker of the frame header.
_JPEG_SEQUENTIAL, _JPEG_READ = (0xC0, 0xC1), (0xC0, 0xC1, 0xC2)
_JPEG_NAMES = {
    **dict.fromkeys((0xC3, 0xCB), "lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "hierarchical JPEG"),
    **dict.fromkeys((0xC9, 0xCA), "arithmetic-coded JPEG"),
    0xF7: "JPEG-LS",
}


class Inspection(NamedTuple):
    """Claims of the files of a batch.

    Attributes:
        headers: first bytes, int64 [batch, 72].
        formats: int32 [batch], `PNG` to `UNKNOWN`.
        sizes: heights and widths in pixels, int64 [batch, 2]; zeros where unknown.
        max_pixels: area up to which an image of this kind is decoded, int64 [batch].
        parts: what the format's decoder needs to know, int64 [batch, 4]. PNG: starts and lengths of
            palette and data. JPEG: start of the scans, number of components, process, precision.
            WebP: start and length of the pixels' chunk, top and left of the frame.
        orientations: EXIF orientation, int64 [batch], 1 to 8.
        decodable: bool [batch], false if nothing has to be tried.
        common: bool [batch], true for PNG and for JPEG of one complete scan.
        decoder_bytes: memory for decoding the most expensive image, int64.
    """

    headers: tf.Tensor
    formats: tf.Tensor
    sizes: tf.Tensor
    max_pixels: tf.Tensor
    parts: tf.Tensor
    orientations: tf.Tensor
    decodable: tf.Tensor
    common: tf.Tensor
    decoder_bytes: tf.Tensor


def inspect_images(image_bytes: tf.Tensor, max_pixels: tf.Tensor) -> Inspection:
    """Inspects files, string [batch]; `max_pixels`, int64, is the largest area of any kind."""
    headers = read_headers(image_bytes)
    formats = image_formats(headers)
    length = tf.cast(tf.strings.length(image_bytes), tf.int64)
    is_jpeg, is_png = formats == JPEG, formats == PNG
    zero = tf.zeros_like(length)
    pair = tf.stack([zero, zero], axis=1)

    def walk(is_format: tf.Tensor, segments: Callable, nothing: Any) -> Any:
        return tf.cond(
            tf.reduce_any(is_format), lambda: segments(image_bytes, is_format), lambda: nothing
        )

    png = walk(is_png, png_chunks, PngChunks(pair, pair, pair))
    no_jpeg = JpegFrame(*[zero] * len(JpegFrame._fields))._replace(exif=pair)
    jpeg = walk(is_jpeg, jpeg_frames, no_jpeg)
    # In a branch, since their many ops cost more than those of a PNG.
    rare = tf.cond(
        tf.reduce_any((formats != PNG) & (formats != JPEG) & (formats != UNKNOWN)),
        lambda: _inspect_rare(image_bytes, headers, formats, length),
        lambda: RareKinds(pair, zero, zero > 0, tf.concat([pair, pair], axis=1), zero),
    )
    jpeg_sizes = tf.stack([jpeg.height, jpeg.width], axis=1)
    sizes = jpeg_sizes + rare.sizes + tf.where(is_png[:, None], png_sizes(headers), 0)
    sequential = is_one_of(jpeg.process, _JPEG_SEQUENTIAL) & (
        jpeg.scan_components == jpeg.components
    )
    last_two = tf.strings.substr(image_bytes, tf.maximum(length - 2, 0), zero + 2)
    has_end = last_two == b"\xff\xd9"
    common = is_png | (is_jpeg & sequential & has_end)
    several = is_jpeg & ~common
    per_pixel = tf.where(common, tf.constant(_COMMON_BYTES_PER_PIXEL, tf.int64), rare.per_pixel)
    per_pixel = tf.where(several, _scans_bytes_per_pixel(jpeg, has_end), per_pixel)
    per_pixel = tf.maximum(per_pixel, 1)  # of an unknown format, too
    limits = tf.minimum(max_pixels, DECODER_BYTES // per_pixel)
    readable = rare.readable | (is_png & _png_readable(headers, sizes, png))
    readable |= is_jpeg & _jpeg_readable(sizes, jpeg, length)
    decodable = readable & sizes_allowed(sizes, limits)
    orientations = exif_orientations(image_bytes, formats, png, jpeg, rare.exif_start)
    costs = tf.where(
        (orientations > 1) & turned_first(sizes),
        tf.maximum(per_pixel, _TURNING_BYTES_PER_PIXEL),
        per_pixel,
    )
    jpeg_parts = tf.stack([jpeg.scan, jpeg.components, jpeg.process, jpeg.precision], axis=1)
    return Inspection(
        headers=headers,
        formats=formats,
        sizes=sizes,
        max_pixels=limits,
        # A file is of one format, and its parts of others are zeros.
        parts=tf.concat([png.palette, png.data], axis=1) + jpeg_parts + rare.parts,
        orientations=orientations,
        decodable=decodable,
        common=common,
        decoder_bytes=tf.reduce_max(
            tf.where(decodable, pixel_count(sizes) * costs, tf.ones_like(length))
        ),
    )


class RareKinds(NamedTuple):
    """Fields of `Inspection` for GIF, BMP and WebP files, zeros for others.

    Attributes:
        sizes, readable, parts: of the batch; `readable` is true before sizes are compared.
        per_pixel: bytes that decoding a pixel takes, int64 [batch].
        exif_start: see `webp_exif_starts`.
    """

    sizes: tf.Tensor
    per_pixel: tf.Tensor
    readable: tf.Tensor
    parts: tf.Tensor
    exif_start: tf.Tensor


def _inspect_rare(
    image_bytes: tf.Tensor, headers: tf.Tensor, formats: tf.Tensor, length: tf.Tensor
) -> RareKinds:
    is_webp = formats == WEBP
    webp = webp_frames(image_bytes, is_webp)
    sizes = declared_sizes(headers, formats)
    readable = (formats == GIF) | ((formats == BMP) & bmp_is_read(headers))
    parts = tf.concat([webp.data, webp.corner], axis=1)
    return RareKinds(
        sizes=sizes,
        per_pixel=_rare_bytes_per_pixel(headers, formats),
        readable=readable | (is_webp & _webp_readable(headers, sizes, webp, length)),
        parts=tf.where(is_webp[:, None], parts, 0),
        exif_start=webp_exif_starts(headers, is_webp),
    )


def turned_first(sizes: tf.Tensor) -> tf.Tensor:
    """True for sizes, int64 [..., 2], of which there is memory for a second copy: bool [...]."""
    return pixel_count(sizes) * _TURNING_BYTES_PER_PIXEL <= DECODER_BYTES


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
        lambda: tf.cond(tf.reduce_any(seen.formats == UNKNOWN), unknown, known),
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


def _rare_bytes_per_pixel(headers: tf.Tensor, formats: tf.Tensor) -> tf.Tensor:
    of_format = [_RARE_BYTES_PER_PIXEL.get(number, 0) for number in range(UNKNOWN + 1)]
    per_pixel = tf.gather(tf.constant(of_format, tf.int64), formats)
    bits = little_endian(headers, 28, 2)
    for bmp_bits, number in _BMP_BYTES_PER_PIXEL.items():
        is_kind = (formats == BMP) & (bits == bmp_bits)
        per_pixel = tf.where(is_kind, tf.constant(number, tf.int64), per_pixel)
    return per_pixel


def _scans_bytes_per_pixel(jpeg: JpegFrame, has_end: tf.Tensor) -> tf.Tensor:
    cut = tf.where(has_end, tf.constant(0, tf.int64), _JPEG_CUT_BYTES)
    return _JPEG_SCANS_BYTES + _JPEG_COEFFICIENT_BYTES * jpeg.components + cut


def _png_readable(headers: tf.Tensor, sizes: tf.Tensor, png: PngChunks) -> tf.Tensor:
    bits = headers[:, 24] * tf.gather(tf.constant(_PNG_CHANNELS, tf.int64), headers[:, 25] % 8)
    length = png.data[:, 1]
    return (length > 0) & (pixel_count(sizes) * bits <= length * _PNG_BITS_PER_BYTE)


def _jpeg_readable(sizes: tf.Tensor, jpeg: JpegFrame, length: tf.Tensor) -> tf.Tensor:
    read = is_one_of(jpeg.process, _JPEG_READ) & (jpeg.precision == 8) & (jpeg.scan > 0)
    enough = pixel_count(sizes) <= (length - jpeg.scan) * _JPEG_PIXELS_PER_BYTE
    return read & enough & (jpeg.components > 0)


def _webp_readable(
    headers: tf.Tensor, sizes: tf.Tensor, webp: WebpFrame, length: tf.Tensor
) -> tf.Tensor:
    complete = (webp.data[:, 1] > 0) & (little_endian(headers, 4, 4) + 8 <= length)
    on_canvas = tf.reduce_all(webp.corner + webp.size <= sizes, axis=1)
    is_animated = headers[:, 20] // 2 % 2 == 1
    on_canvas &= is_animated | tf.reduce_all(webp.size == sizes, axis=1)
    return complete & on_canvas & tf.reduce_all(webp.size > 0, axis=1)
