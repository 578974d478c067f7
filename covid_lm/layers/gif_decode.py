"""Decoding of a GIF's first frame with core TensorFlow ops, whatever the later frames are."""

import tensorflow as tf

from covid_lm.layers.image_header import little_endian, sizes_allowed

# Limit the time that crafted chains of tiny blocks can take.
_GIF_MAX_EXTENSIONS, _GIF_MAX_STEPS = 32, 2048


def decode_gif(image_bytes: tf.Tensor, header: tf.Tensor, max_pixels: tf.Tensor) -> tf.Tensor:
    """Decodes the first frame, placed on its logical screen as Pillow does, and no other.

    Args:
        image_bytes: scalar string.
        header: int64 [72], the image's row of `image_header.read_headers`.
        max_pixels: scalar int64, area of the largest frame and screen to allocate.

    Returns:
        uint8 [height, width, 3].
    """
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
    return place(pixels, corner, screen, color)


def place(pixels: tf.Tensor, corner: tf.Tensor, size: tf.Tensor, color: tf.Tensor) -> tf.Tensor:
    """Places a frame on a larger picture of one colour.

    Args:
        pixels: uint8 [any height, any width, 3].
        corner: int64 [2], the frame's top and left.
        size: int64 [2], height and width of the picture.
        color: uint8 [3].

    Returns:
        uint8 [height, width, 3].
    """
    margins = tf.stack([corner, size - corner - tf.shape(pixels, tf.int64)[:2]], axis=1)
    return tf.cond(
        tf.reduce_any(margins > 0),
        # The difference from the picture's colour wraps around in uint8, and back.
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
