"""Decoding of one image to RGB pixels of full size, and resizing, with core TensorFlow ops.

`image_header` has checked format and declared size. Data that can't be decoded raises
`tf.errors.InvalidArgumentError` when the graph runs; `ImageInput` confines it to that image.
"""

import tensorflow as tf

from covid_lm.layers.image_header import (
    BMP,
    GIF,
    JPEG,
    PNG,
    WEBP,
    bmp_height,
    little_endian,
    sizes_allowed,
)

# Limit the time that crafted chains of tiny blocks can take.
_GIF_MAX_EXTENSIONS, _GIF_MAX_STEPS = 32, 2048


def decode_rgb(
    image_bytes: tf.Tensor, header: tf.Tensor, image_format: tf.Tensor, max_pixels: int
) -> tf.Tensor:
    """Decodes one image; JPEG with libjpeg's accurate DCT and smooth upsampling, as Pillow does.

    Args:
        image_bytes: scalar string.
        header: int64 [72], the image's row of `image_header.read_headers`.
        image_format: scalar int32, not `UNKNOWN`.
        max_pixels: area of the largest JPEG and the largest GIF frame to allocate.

    Returns:
        uint8 [height, width, 3], without alpha.
    """
    branches = {
        PNG: lambda: tf.io.decode_png(image_bytes, channels=3),
        JPEG: lambda: _decode_jpeg(image_bytes, max_pixels),
        GIF: lambda: _decode_gif(image_bytes, header, max_pixels),
        BMP: lambda: _decode_bmp(image_bytes, header),
        # Not decode_webp: a server older than that op would reject the whole graph.
        WEBP: lambda: tf.io.decode_image(image_bytes, expand_animations=False)[..., :3],
    }
    pixels = tf.switch_case(image_format, branches)
    pixels.set_shape([None, None, 3])
    return pixels


def decode_png_or_jpeg(
    image_bytes: tf.Tensor, image_format: tf.Tensor, max_pixels: int
) -> tf.Tensor:
    """As `decode_rgb`, for these two formats only, with a fraction of the ops."""
    return tf.cond(
        image_format == PNG,
        lambda: tf.io.decode_png(image_bytes, channels=3),
        lambda: _decode_jpeg(image_bytes, max_pixels),
    )


def _decode_jpeg(image_bytes: tf.Tensor, max_pixels: int) -> tf.Tensor:
    size = tf.cast(tf.io.extract_jpeg_shape(image_bytes)[:2], tf.int64)
    # An empty file raises an error, without the Assert op, which logs its input.
    accepted = tf.where(sizes_allowed(size, max_pixels), image_bytes, "")
    return tf.io.decode_jpeg(accepted, channels=3, dct_method="INTEGER_ACCURATE")


def _decode_bmp(image_bytes: tf.Tensor, header: tf.Tensor) -> tf.Tensor:
    # TensorFlow's decode_bmp takes palette indices for gray levels and ignores compression.
    data = tf.io.decode_raw(image_bytes, tf.uint8)
    start, width = little_endian(header, 10, 4), little_endian(header, 18, 4)
    signed_height, bits = bmp_height(header), little_endian(header, 28, 2)
    row_bytes = (width * bits + 31) // 32 * 4
    shape = tf.stack([tf.abs(signed_height), row_bytes])
    rows = tf.reshape(data[start : start + tf.reduce_prod(shape)], shape)  # [height, row_bytes]
    rows = tf.cond(signed_height > 0, lambda: rows[::-1], lambda: rows)

    def direct() -> tf.Tensor:
        pixels = tf.reshape(rows[:, : width * bits // 8], [shape[0], width, bits // 8])
        return pixels[..., 2::-1]  # [height, width, 3], blue first in the file

    def indexed() -> tf.Tensor:
        shifts = tf.cast(tf.range(8 - bits, -1, -bits), tf.uint8)
        indices = tf.bitwise.right_shift(rows[..., None], shifts)
        indices = tf.bitwise.bitwise_and(indices, tf.cast(2**bits - 1, tf.uint8))
        indices = tf.reshape(indices, [shape[0], row_bytes * 8 // bits])[:, :width]
        colors, table = little_endian(header, 46, 4), 14 + little_endian(header, 14, 4)
        colors = tf.where((colors == 0) | (colors > 2**bits), 2**bits, colors)
        palette = tf.reshape(data[table : table + colors * 4], [colors, 4])[:, 2::-1]
        return tf.gather(palette, tf.cast(indices, tf.int32))  # [height, width, 3]

    return tf.cond(bits <= 8, indexed, direct)


def _decode_gif(image_bytes: tf.Tensor, header: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Decodes the first frame, placed on its logical screen as Pillow does, and no other."""
    data = tf.io.decode_raw(image_bytes, tf.uint8)
    header_end = 13 + _color_table_bytes(header[10])
    frame, transparent = _skip_extensions(data, header_end)
    descriptor = tf.cast(data[frame : frame + 10], tf.int64)
    table_bytes = _color_table_bytes(descriptor[9])
    frame_end = _skip_sub_blocks(data, frame + 10 + table_bytes + 1)
    corner = tf.stack([little_endian(descriptor, 3, 2), little_endian(descriptor, 1, 2)])
    size = tf.stack([little_endian(descriptor, 7, 2), little_endian(descriptor, 5, 2)])
    screen = tf.stack([little_endian(header, 8, 2), little_endian(header, 6, 2)])
    screen = tf.maximum(screen, corner + size)
    allowed = sizes_allowed(tf.stack([size, screen]), max_pixels)
    accepted = (descriptor[0] == ord(",")) & tf.reduce_all(allowed)
    # A file of this frame alone, without the extension that makes a colour transparent. With later
    # frames the decoder would allocate them all, and accept a defective first one.
    alone = tf.strings.join(
        [
            tf.strings.substr(image_bytes, tf.zeros_like(header_end), header_end),
            b",\x00\x00\x00\x00",
            tf.strings.substr(image_bytes, frame + 5, frame_end - frame - 5),
            b";",
        ]
    )
    pixels = tf.io.decode_image(tf.where(accepted, alone, ""), expand_animations=False)
    pixels.set_shape([None, None, 3])
    table = tf.where(table_bytes > 0, frame + 10, 13)
    color = data[table + 3 * transparent : table + 3 * transparent + 3]
    margins = tf.stack([corner, screen - corner - size], axis=1)
    return tf.cond(
        tf.reduce_any(margins > 0),
        # The difference from the screen's colour wraps around in uint8, and back.
        lambda: tf.pad(pixels - color, tf.concat([margins, [[0, 0]]], 0)) + color,
        lambda: pixels,
    )


def _color_table_bytes(flags: tf.Tensor) -> tf.Tensor:
    return tf.where(flags >= 0x80, 3 * 2 ** (flags % 8 + 1), tf.zeros_like(flags))


def _skip_extensions(data: tf.Tensor, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Position of the first block other than an extension; index of the transparent colour or 0."""

    def skip_one(position: tf.Tensor, transparent: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        control = tf.cast(data[position + 1 : position + 7], tf.int64)
        sets_color = (control[0] == 0xF9) & (control[2] % 2 == 1)
        transparent = tf.where(sets_color, control[5], transparent)
        return _skip_sub_blocks(data, position + 2), transparent

    return tf.while_loop(
        lambda position, _: data[position] == ord("!"),
        skip_one,
        (start, tf.constant(0, tf.int64)),
        maximum_iterations=_GIF_MAX_EXTENSIONS,
    )


def _skip_sub_blocks(data: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Position after the chain of length-prefixed blocks that starts at `start`."""

    def skip_equal_blocks(position: tf.Tensor) -> tuple[tf.Tensor]:
        step = tf.cast(data[position], tf.int64) + 1
        lengths = data[position : position + step * _GIF_MAX_STEPS : step]
        equal = tf.math.cumprod(tf.cast(lengths == lengths[0], tf.int64))
        return (position + step * tf.reduce_sum(equal),)

    (end,) = tf.while_loop(
        lambda position: data[position] != 0,
        skip_equal_blocks,
        (start,),
        maximum_iterations=_GIF_MAX_STEPS,
    )
    return end + 1


def resize(pixels: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Resizes as tf.image.resize(antialias=True), but without its float copy of the input.

    Args:
        pixels: uint8 [any height, any width, channels].
        size: height and width of the output.

    Returns:
        uint8 [*size, channels].
    """
    resized = tf.raw_ops.ScaleAndTranslate(
        images=pixels[None],
        size=size,
        scale=tf.constant(size, tf.float32) / tf.cast(tf.shape(pixels)[:2], tf.float32),
        translation=tf.zeros([2]),
        kernel_type="triangle",
        antialias=True,
    )[0]  # [height, width, channels]
    return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)
