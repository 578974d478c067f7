"""Inspection of encoded images before any is decoded: what they claim, and what that would cost.

What the files of a format claim are columns, int64 [batch], in the order of `CLAIMS`.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from covid_lm.layers.image_header import (
    BMP,
    GIF,
    JPEG,
    PNG,
    UNKNOWN,
    WEBP,
    bmp_is_read,
    declared_sizes,
    image_formats,
    is_one_of,
    little_endian,
    pixel_count,
    png_fields,
    read_headers,
    sizes_allowed,
    uncommon,
)
from covid_lm.layers.image_orientation import exif_orientations, webp_exif_starts
from covid_lm.layers.image_segments import (
    CHUNK_FRAME,
    PngChunks,
    WebpFrame,
    png_chunks,
    webp_frames,
)
from covid_lm.layers.jpeg_decode import JpegFrame, have_few_scans, jpeg_frames

# Memory for decoding, of an image and of all that are decoded at the same time; the files' bytes
# and the decoder's copy of them come on top.
DECODER_BYTES = 2**28

# Bytes per pixel that decoding holds at most, measured, the RGB result included. A JPEG of several
# scans is held as coefficients, too, two bytes for each component.
_COMMON_BYTES_PER_PIXEL = 3
_RARE_BYTES_PER_PIXEL = {GIF: 10, BMP: 14, WEBP: 14}
_BMP_BYTES_PER_PIXEL = {16: 26, 24: 3, 32: 7}
_JPEG_SCANS_BYTES, _JPEG_COEFFICIENT_BYTES = 6, 2
_JPEG_CUT_BYTES = 4  # more without an end marker, where results are compared

# Most that a byte of data decodes to: bits of a PNG (deflate's limit), pixels of a JPEG (a block's
# 64 pixels take at least one bit).
_PNG_BITS_PER_BYTE, _JPEG_PIXELS_PER_BYTE = 8 * 1040, 512
_PNG_CHANNELS = (1, 1, 3, 1, 2, 1, 4, 1)  # by colour type

# JPEG's coding processes by the marker of the frame header.
_JPEG_READ = (0xC0, 0xC1, 0xC2)
_JPEG_PROGRESSIVE = 0xC2
_TURNING_BYTES_PER_PIXEL = 6  # if the picture is turned before it is resized

# A file's claims in one row, zeros for a file of another kind: one tensor costs less than many.
# `capacity` is the number of pixels that the data can hold, `search` where to look for EXIF.
CLAIMS = (
    *("height", "width", "part_0", "part_1", "part_2", "part_3", "exif", "exif_length", "search"),
    *("per_pixel", "capacity", "common"),
)


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
        per_pixel: bytes that decoding a pixel takes, int64 [batch].
        decodable: bool [batch], false if nothing has to be tried.
        common: bool [batch], true for PNG and for JPEG that are decoded by one op.
    """

    headers: tf.Tensor
    formats: tf.Tensor
    sizes: tf.Tensor
    max_pixels: tf.Tensor
    parts: tf.Tensor
    orientations: tf.Tensor
    per_pixel: tf.Tensor
    decodable: tf.Tensor
    common: tf.Tensor


def inspect_images(image_bytes: tf.Tensor, max_pixels: tf.Tensor) -> Inspection:
    """Inspects files, string [batch]; `max_pixels`, int64, is the largest area of any kind."""
    headers = read_headers(image_bytes)
    formats = image_formats(headers)
    length = tf.cast(tf.strings.length(image_bytes), tf.int64)
    claims = tf.zeros([tf.size(length), len(CLAIMS)], tf.int64)
    # In branches, since most batches need one of them.
    for is_kind, inspect in (
        (formats == PNG, inspect_png),
        (formats == JPEG, inspect_jpeg),
        ((formats >= GIF) & (formats <= WEBP), inspect_rare),
    ):
        claims = tf.cond(
            tf.reduce_any(is_kind),
            uncommon(
                functools.partial(
                    add_claims, claims, inspect, image_bytes, headers, length, is_kind
                )
            ),
            lambda claims=claims: claims,
        )
    columns = dict(zip(CLAIMS, tf.unstack(claims, axis=1), strict=True))
    sizes, limits, decodable = judge(columns, max_pixels)
    return Inspection(
        headers=headers,
        formats=formats,
        sizes=sizes,
        max_pixels=limits,
        parts=claims[:, 2:6],
        orientations=exif_orientations(
            image_bytes, formats == PNG, claims[:, 6:8], columns["search"]
        ),
        per_pixel=columns["per_pixel"],
        decodable=decodable,
        common=columns["common"] > 0,
    )


def decoder_bytes(seen: Inspection) -> tf.Tensor:
    """Memory for decoding the most expensive image, int64, at least 1."""
    costs = tf.where(
        (seen.orientations > 1) & turned_first(seen.sizes),
        tf.maximum(seen.per_pixel, _TURNING_BYTES_PER_PIXEL),
        seen.per_pixel,
    )
    costs = tf.where(seen.decodable, pixel_count(seen.sizes) * costs, 1)
    return tf.reduce_max(tf.concat([costs, [1]], axis=0))


def turned_first(sizes: tf.Tensor) -> tf.Tensor:
    """True for sizes, int64 [..., 2], of which there is memory for a second copy: bool [...]."""
    return pixel_count(sizes) * _TURNING_BYTES_PER_PIXEL <= DECODER_BYTES


def add_claims(
    claims: tf.Tensor,
    inspect: Callable,
    image_bytes: tf.Tensor,
    headers: tf.Tensor,
    length: tf.Tensor,
    is_kind: tf.Tensor,
) -> tf.Tensor:
    """Claims, int64 [batch, claims], with those that `inspect` finds for the files of its kind."""
    columns = inspect(image_bytes, headers, length, is_kind)
    zero = tf.zeros_like(length)
    new = tf.stack([columns.get(name, zero) for name in CLAIMS], axis=1)
    return tf.where(is_kind[:, None], new, claims)


def judge(
    columns: dict[str, tf.Tensor], max_pixels: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns `sizes`, `max_pixels` and `decodable` of an `Inspection` for columns of `CLAIMS`."""
    sizes = tf.stack([columns["height"], columns["width"]], axis=1)
    limits = tf.minimum(max_pixels, DECODER_BYTES // tf.maximum(columns["per_pixel"], 1))
    return sizes, limits, sizes_allowed(sizes, tf.minimum(limits, columns["capacity"]))


def inspect_png(
    image_bytes: tf.Tensor, headers: tf.Tensor, length: tf.Tensor, is_png: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Columns of `CLAIMS` for PNG files, anything for others."""
    return png_claims(headers, length, png_chunks(image_bytes, is_png))


def png_claims(headers: tf.Tensor, length: tf.Tensor, png: PngChunks) -> dict[str, tf.Tensor]:
    """Columns of `CLAIMS` for PNG files of these chunks."""
    height, width, depth, color = png_fields(headers)
    data, data_length = tf.unstack(png.data, axis=1)
    exif, exif_length = tf.unstack(png.exif, axis=1)
    bits = tf.maximum(depth * tf.gather(tf.constant(_PNG_CHANNELS, tf.int64), color % 8), 1)
    # Most files end after the data with IEND; there is no room for the EXIF of an orientation.
    data_end = data + data_length
    has_more = (length - data_end > CHUNK_FRAME) & (exif_length == 0)
    return {
        "height": height,
        "width": width,
        **{f"part_{k}": part for k, part in enumerate(tf.unstack(png.palette, axis=1))},
        "part_2": data,
        "part_3": data_length,
        "exif": exif,
        "exif_length": exif_length,
        "search": tf.where(has_more, data_end, 0),
        "per_pixel": tf.zeros_like(length) + _COMMON_BYTES_PER_PIXEL,
        "capacity": data_length * _PNG_BITS_PER_BYTE // bits,
        "common": tf.ones_like(length),
    }


def inspect_jpeg(
    image_bytes: tf.Tensor, headers: tf.Tensor, length: tf.Tensor, is_jpeg: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Columns of `CLAIMS` for JPEG files, anything for others."""
    return jpeg_claims(image_bytes, length, jpeg_frames(image_bytes, is_jpeg))


def jpeg_claims(image_bytes: tf.Tensor, length: tf.Tensor, jpeg: JpegFrame) -> dict[str, tf.Tensor]:
    """Columns of `CLAIMS` for JPEG files of these frames."""
    exif, exif_length = tf.unstack(jpeg.exif, axis=1)
    is_read = is_one_of(jpeg.process, _JPEG_READ) & (jpeg.precision == 8)
    is_read &= (jpeg.scan > 0) & (jpeg.components > 0)
    is_single = (jpeg.process < _JPEG_PROGRESSIVE) & (jpeg.scan_components == jpeg.components)
    last_two = tf.strings.substr(image_bytes, tf.maximum(length - 2, 0), tf.zeros_like(length) + 2)
    has_end = last_two == b"\xff\xd9"
    several = is_read & ~is_single & has_end
    few = have_few_scans(image_bytes, jpeg.scan, jpeg.height * jpeg.width, several)
    common = has_end & (is_single | few)
    cut = tf.where(has_end, tf.constant(0, tf.int64), _JPEG_CUT_BYTES)
    common_per_pixel = tf.constant(_COMMON_BYTES_PER_PIXEL, tf.int64)
    per_pixel = _JPEG_SCANS_BYTES + _JPEG_COEFFICIENT_BYTES * jpeg.components + cut
    return {
        "height": jpeg.height,
        "width": jpeg.width,
        "part_0": jpeg.scan,
        "part_1": jpeg.components,
        "part_2": jpeg.process,
        "part_3": jpeg.precision,
        "exif": exif,
        "exif_length": exif_length,
        "per_pixel": tf.where(is_single & has_end, common_per_pixel, per_pixel),
        "capacity": tf.where(is_read, (length - jpeg.scan) * _JPEG_PIXELS_PER_BYTE, 0),
        "common": tf.cast(common, tf.int64),
    }


def inspect_rare(
    image_bytes: tf.Tensor, headers: tf.Tensor, length: tf.Tensor, is_rare: tf.Tensor
) -> dict[str, tf.Tensor]:
    """Columns of `CLAIMS` for GIF, BMP and WebP files, anything for others."""
    formats = image_formats(headers)
    is_webp = formats == WEBP
    webp = webp_frames(image_bytes, is_webp)
    sizes = declared_sizes(headers, formats)
    readable = (formats == GIF) | ((formats == BMP) & bmp_is_read(headers))
    readable |= is_webp & _webp_readable(headers, sizes, webp, length)
    parts = tf.where(is_webp[:, None], tf.concat([webp.data, webp.corner], axis=1), 0)
    return {
        "height": sizes[:, 0],
        "width": sizes[:, 1],
        **{f"part_{k}": part for k, part in enumerate(tf.unstack(parts, axis=1))},
        "search": webp_exif_starts(headers, is_webp),
        "per_pixel": _rare_bytes_per_pixel(headers, formats),
        "capacity": tf.where(readable, tf.constant(tf.int64.max, tf.int64), 0),
    }


def _rare_bytes_per_pixel(headers: tf.Tensor, formats: tf.Tensor) -> tf.Tensor:
    of_format = [_RARE_BYTES_PER_PIXEL.get(number, 0) for number in range(UNKNOWN + 1)]
    per_pixel = tf.gather(tf.constant(of_format, tf.int64), formats)
    bits = little_endian(headers, 28, 2)
    for bmp_bits, number in _BMP_BYTES_PER_PIXEL.items():
        is_kind = (formats == BMP) & (bits == bmp_bits)
        per_pixel = tf.where(is_kind, tf.constant(number, tf.int64), per_pixel)
    return per_pixel


def _webp_readable(
    headers: tf.Tensor, sizes: tf.Tensor, webp: WebpFrame, length: tf.Tensor
) -> tf.Tensor:
    complete = (webp.data[:, 1] > 0) & (little_endian(headers, 4, 4) + 8 <= length)
    on_canvas = tf.reduce_all(webp.corner + webp.size <= sizes, axis=1)
    is_animated = headers[:, 20] // 2 % 2 == 1
    on_canvas &= is_animated | tf.reduce_all(webp.size == sizes, axis=1)
    return complete & on_canvas & tf.reduce_all(webp.size > 0, axis=1)
