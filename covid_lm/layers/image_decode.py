"""Decoding of one image to RGB pixels of full size, and resizing, with core TensorFlow ops.

`image_inspection` has checked what the file claims. Data that can't be decoded raises
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
from covid_lm.layers.image_inspection import Inspection
from covid_lm.layers.jpeg_decode import decode_jpeg, decode_jpeg_scans

PNG_HEADER_BYTES = 33
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"

# Limit the time that crafted chains of tiny blocks can take.
_GIF_MAX_EXTENSIONS, _GIF_MAX_STEPS = 32, 2048

_BYTES = [bytes([value]) for value in range(256)]


def decode_rgb(
    image_bytes: tf.Tensor,
    header: tf.Tensor,
    image_format: tf.Tensor,
    parts: tf.Tensor,
    size: tf.Tensor,
    max_pixels: tf.Tensor,
) -> tf.Tensor:
    """Decodes one image; JPEG with libjpeg's accurate DCT and smooth upsampling, as Pillow does.

    Args:
        image_bytes: scalar string.
        header, image_format, parts, size, max_pixels: the image's row of `headers`, `formats`,
            `parts`, `sizes` and `max_pixels` of an `Inspection`; not of an unknown format.

    Returns:
        uint8 [height, width, 3], without alpha.
    """
    branches = {
        PNG: lambda: _decode_png(image_bytes, parts),
        JPEG: lambda: decode_jpeg_scans(image_bytes, parts, size),
        GIF: lambda: _decode_gif(image_bytes, header, max_pixels),
        BMP: lambda: _decode_bmp(image_bytes, header),
        WEBP: lambda: _decode_webp(image_bytes, parts, size),
    }
    pixels = tf.switch_case(image_format, branches)
    pixels.set_shape([None, None, 3])
    return pixels


def common_files(image_bytes: tf.Tensor, seen: Inspection) -> tf.Tensor:
    """Cuts the `common` images of an `Inspection` down to what `decode_common` needs.

    Args:
        image_bytes: string [batch].

    Returns:
        string [batch], "" for images that are not decodable.
    """
    # Lengths of 0 leave nothing of an image; another op on the strings would copy all files again.
    is_png = seen.decodable & (seen.formats == PNG)
    is_jpeg = seen.decodable & (seen.formats == JPEG)
    length = tf.where(is_jpeg, tf.strings.length(image_bytes), 0)
    head = tf.where(is_png, PNG_HEADER_BYTES, length)
    parts = tf.where(is_png[:, None], seen.parts, 0)
    end = tf.where(is_png, PNG_END, b"")
    return tf.strings.join([*_png_pieces(image_bytes, head, parts), end])


def decode_common(file: tf.Tensor) -> tf.Tensor:
    """As `decode_rgb`, for one of `common_files`. Whatever its name, the op reads PNG, too."""
    return decode_jpeg(file)


def _decode_png(image_bytes: tf.Tensor, parts: tf.Tensor) -> tf.Tensor:
    return tf.io.decode_png(png_without_metadata(image_bytes, parts), channels=3)


def png_without_metadata(image_bytes: tf.Tensor, parts: tf.Tensor) -> tf.Tensor:
    """Cuts PNG files, string [...], down to header, palette and data, `parts`: string [...]."""
    head = tf.zeros_like(parts[..., 0]) + PNG_HEADER_BYTES
    return tf.strings.join([*_png_pieces(image_bytes, head, parts), PNG_END])


def _png_pieces(image_bytes: tf.Tensor, head: tf.Tensor, parts: tf.Tensor) -> list[tf.Tensor]:
    """Cuts out the first `head` bytes, the palette and the data of files, string [...].

    Without ancillary chunks, which change no pixel and can make libpng allocate gigabytes.
    """
    palette, palette_length, data, data_length = tf.unstack(parts, axis=-1)
    return [
        tf.strings.substr(image_bytes, tf.zeros_like(head), head),
        tf.strings.substr(image_bytes, palette, palette_length),
        tf.strings.substr(image_bytes, data, data_length),
    ]


def _decode_gif(image_bytes: tf.Tensor, header: tf.Tensor, max_pixels: tf.Tensor) -> tf.Tensor:
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
    return _place(pixels, corner, screen, color)


def _place(pixels: tf.Tensor, corner: tf.Tensor, size: tf.Tensor, color: tf.Tensor) -> tf.Tensor:
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


def _decode_webp(image_bytes: tf.Tensor, parts: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Decodes the only or the first frame, placed on its canvas as Pillow does."""
    chunk = tf.strings.substr(image_bytes, parts[0], parts[1])
    # A file of these pixels alone: without metadata and alpha, and not animated, since TensorFlow
    # 2.21 writes four channels of an opaque animation into a buffer for three.
    padding = tf.gather([b"", b"\0"], parts[1] % 2)
    riff_size = 4 + parts[1] + parts[1] % 2
    digits = riff_size // tf.constant([1, 2**8, 2**16, 2**24], tf.int64) % 256
    encoded_size = tf.strings.reduce_join(tf.gather(_BYTES, digits))
    alone = tf.strings.join([b"RIFF", encoded_size, b"WEBP", chunk, padding])
    # Not decode_webp: a server older than that op would reject the whole graph.
    pixels = tf.io.decode_image(alone, expand_animations=False)[..., :3]
    pixels.set_shape([None, None, 3])
    return _place(pixels, parts[2:], size, tf.zeros([3], tf.uint8))


def _decode_bmp(image_bytes: tf.Tensor, header: tf.Tensor) -> tf.Tensor:
    bits = little_endian(header, 28, 2)
    row_bytes = (little_endian(header, 18, 4) * bits + 31) // 32 * 4
    shape = tf.stack([tf.abs(bmp_height(header)), row_bytes])
    start = little_endian(header, 10, 4)
    end = start + tf.reduce_prod(shape)
    return tf.cond(
        (bits == 24) | (bits == 32),
        # The op refuses files with further bytes.
        lambda: tf.io.decode_bmp(
            tf.strings.substr(image_bytes, tf.zeros_like(end), end), channels=3
        ),
        lambda: _decode_small_bmp(image_bytes, header, start, shape),
    )


def _decode_small_bmp(
    image_bytes: tf.Tensor, header: tf.Tensor, start: tf.Tensor, shape: tf.Tensor
) -> tf.Tensor:
    """Decodes pixels of 1 to 16 bits: TensorFlow's op takes indices for gray levels.

    The rows begin at `start` and have `shape`, number and bytes.
    """
    data = tf.io.decode_raw(image_bytes, tf.uint8)
    width, bits = little_endian(header, 18, 4), little_endian(header, 28, 2)
    rows = tf.reshape(data[start : start + tf.reduce_prod(shape)], shape)  # [height, row_bytes]
    rows = tf.cond(bmp_height(header) > 0, lambda: rows[::-1], lambda: rows)

    def direct() -> tf.Tensor:
        pairs = tf.cast(tf.reshape(rows[:, : 2 * width], [shape[0], width, 2]), tf.int32)
        values = pairs[..., :1] + 256 * pairs[..., 1:]  # [height, width, 1]
        # Red, green and blue of five bits; of six for green, if the masks say so.
        has_six = (little_endian(header, 30, 4) != 0) & (little_endian(header, 54, 4) == 0xF800)
        shifts = tf.where(has_six, [11, 5, 0], [10, 5, 0])
        largest = tf.where(has_six, [31, 63, 31], [31, 31, 31])
        levels = tf.bitwise.bitwise_and(tf.bitwise.right_shift(values, shifts), largest)
        return tf.cast(levels * 255 // largest, tf.uint8)

    def indexed() -> tf.Tensor:
        shifts = tf.cast(tf.range(8 - bits, -1, -bits), tf.uint8)
        indices = tf.bitwise.right_shift(rows[..., None], shifts)
        indices = tf.bitwise.bitwise_and(indices, tf.cast(2**bits - 1, tf.uint8))
        indices = tf.reshape(indices, [shape[0], shape[1] * 8 // bits])[:, :width]
        colors, table = little_endian(header, 46, 4), 14 + little_endian(header, 14, 4)
        colors = tf.where((colors == 0) | (colors > 2**bits), 2**bits, colors)
        palette = tf.reshape(data[table : table + colors * 4], [colors, 4])[:, 2::-1]
        return tf.gather(palette, tf.cast(indices, tf.int32))  # [height, width, 3]

    return tf.cond(bits <= 8, indexed, direct)


def resize(pixels: tf.Tensor, size: tf.Tensor | tuple[int, int]) -> tf.Tensor:
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
        scale=tf.cast(size, tf.float32) / tf.cast(tf.shape(pixels)[:2], tf.float32),
        translation=tf.zeros([2]),
        kernel_type="triangle",
        antialias=True,
    )[0]  # [height, width, channels]
    return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)
