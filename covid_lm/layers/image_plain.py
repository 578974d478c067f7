"""One plain image: the fast path of `ImageInput` for a call with a single PNG or JPEG file.

Of inspection and isolation, the graph here has only what such a file needs, in one thread, without
loops, and with few branches: a change of threads and the ops of a branch that is not taken cost
time, too. Nothing is judged in another way than in general, and what is not plain is left to it.
"""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from covid_lm.layers.image_decode import (
    PNG_END,
    PNG_HEADER_BYTES,
    decode_common,
    png_without_metadata,
    resize,
)
from covid_lm.layers.image_header import big_endian, read_headers, uncommon
from covid_lm.layers.image_inspection import jpeg_claims, judge, png_claims, turned_first
from covid_lm.layers.image_orientation import exif_orientations, read_orientations, turn
from covid_lm.layers.image_segments import CHUNK_FRAME, PngChunks, png_chunks
from covid_lm.layers.jpeg_decode import jpeg_frames

Decoded = tuple[tf.Tensor, tf.Tensor, tf.Tensor]  # pixels, valid, reason

_PNG_START = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
# Kinds by their first bytes, -1 for any byte: a PNG whose data come first, another PNG, a JPEG that
# starts with APP1, which nearly always is EXIF, another JPEG.
_BARE_PNG, _PNG, _EXIF_JPEG, _JPEG, _OTHER = range(5)
_STARTS: tuple[list[int], ...] = (
    [*_PNG_START, *[-1] * 21, *b"IDAT"],
    [*_PNG_START],
    [0xFF, 0xD8, 0xFF, 0xE1],
    [0xFF, 0xD8, 0xFF],
    [],
)
_START_BYTES = len(_STARTS[0])
_EXPECTED = np.array([[*start, *[-1] * (_START_BYTES - len(start))] for start in _STARTS])
# Besides one chunk of data: the header, that chunk's frame, and the end.
_BARE_BYTES = PNG_HEADER_BYTES + CHUNK_FRAME + len(PNG_END)
_STEPS = 1  # of a walk through a file's chunks or segments: enough for most files


def decode_plain(
    image_bytes: tf.Tensor,
    image_size: tf.Tensor,
    max_pixels: tf.Tensor,
    otherwise: Callable[[], Decoded],
) -> Decoded:
    """Decodes and resizes a batch, string [batch], of one plain image that can be decoded.

    Returns:
        What `ImageInput` returns, in colour; for another batch, what `otherwise` returns.
    """
    headers = read_headers(image_bytes)
    start = headers[:, tf.newaxis, :_START_BYTES]
    is_kind = tf.reduce_all((start == _EXPECTED) | (_EXPECTED < 0), axis=2)  # [batch, kinds]
    kinds = tf.argmax(is_kind, axis=1)
    length = tf.cast(tf.strings.length(image_bytes), tf.int64)
    several = (kinds == _BARE_PNG) & (
        big_endian(headers, PNG_HEADER_BYTES, 4) + _BARE_BYTES != length
    )
    kind = tf.reduce_max(kinds + tf.cast(several, tf.int64) * (_PNG - _BARE_PNG))
    kind = tf.where(tf.equal(tf.size(image_bytes), 1), tf.cast(kind, tf.int32), _OTHER)
    branches = [
        functools.partial(_call_in_one_thread, number, image_bytes, headers, max_pixels)
        for number in range(_OTHER)
    ]
    is_decoded, is_upright, pixels, exif, search = tf.switch_case(kind, [*branches, _nothing])

    def turned() -> tf.Tensor:
        is_png = tf.reshape(kind <= _PNG, [1])
        orientation = exif_orientations(image_bytes, is_png, exif, search)[0]
        return turn_and_resize(pixels, orientation, image_size)

    def resized() -> Decoded:
        small = tf.cond(is_upright, lambda: resize(pixels, image_size), uncommon(turned))
        return small[tf.newaxis], tf.constant([True]), tf.constant([""])

    return tf.cond(is_decoded, resized, uncommon(otherwise))


def _nothing() -> list[tf.Tensor]:
    zeros = tf.zeros([1, 2], tf.int64)
    return [
        tf.constant(False),
        tf.constant(True),
        tf.zeros([1, 1, 3], tf.uint8),
        zeros,
        zeros[:, 0],
    ]


def _call_in_one_thread(
    kind: int, image_bytes: tf.Tensor, headers: tf.Tensor, max_pixels: tf.Tensor
) -> list[tf.Tensor]:
    """Calls `_decode` with an executor that runs one op after another, without branches."""
    arguments = [image_bytes, headers, max_pixels]
    graph = tf.function(
        functools.partial(_decode, kind),
        input_signature=[
            tf.TensorSpec([None], tf.string),
            tf.TensorSpec([None, headers.shape[1]], tf.int64),
            tf.TensorSpec([], tf.int64),
        ],
        autograph=False,
        experimental_attributes={"_noinline": True},
    ).get_concrete_function()
    outputs = tf.raw_ops.PartitionedCall(
        args=arguments,
        Tout=[output.dtype for output in graph.outputs],
        f=graph,
        executor_type="SINGLE_THREADED_EXECUTOR",
    )
    for output, traced in zip(outputs, graph.outputs, strict=True):
        output.set_shape(traced.shape)
    return outputs


def _decode(
    kind: int, image_bytes: tf.Tensor, headers: tf.Tensor, max_pixels: tf.Tensor
) -> list[tf.Tensor]:
    """Decodes an image, string [1], of this kind if it is plain and sound.

    Args:
        headers: int64 [1, 72], its first bytes.

    Returns:
        Scalar bools, true if it was decoded, and if it certainly is upright; its pixels, uint8
        [height, width, 3]; and of its EXIF the position and length, int64 [1, 2], and where to
        search for it, int64 [1], zeros if it has none.
    """
    length = tf.cast(tf.strings.length(image_bytes), tf.int64)
    zero = tf.zeros_like(length)
    if kind == _BARE_PNG:
        none = tf.stack([zero, zero], axis=1)
        data = tf.stack([zero + PNG_HEADER_BYTES, length - PNG_HEADER_BYTES - len(PNG_END)], axis=1)
        columns = png_claims(headers, length, PngChunks(none, data, none))
    elif kind == _PNG:
        columns = png_claims(headers, length, png_chunks(image_bytes, length > 0, _STEPS))
    else:
        frames = jpeg_frames(image_bytes, length > 0, _STEPS)
        columns = jpeg_claims(image_bytes, length, frames)
    accepted = judge(columns, max_pixels)[2] & (columns["common"] > 0)
    exif = tf.stack([columns["exif"], columns["exif_length"]], axis=1)
    search = columns.get("search", zero)
    is_upright = exif[:, 1] + search == 0
    if kind == _EXIF_JPEG:
        is_upright |= read_orientations(image_bytes, exif) == 1
    if kind == _BARE_PNG:
        end = tf.strings.substr(image_bytes, length - len(PNG_END), zero + len(PNG_END))
        accepted &= end == PNG_END
    if kind == _PNG:
        parts = tf.stack([columns[f"part_{number}"] for number in range(4)], axis=1)
        image_bytes = png_without_metadata(image_bytes, parts)
    pixels, is_decoded = _decoded_or_blank(image_bytes, accepted)
    return [is_decoded, tf.reshape(is_upright, []), pixels, exif, search]


def _decoded_or_blank(file: tf.Tensor, accepted: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Pixels of one of `common_files`, string [1], and true; or one pixel, and false.

    Nothing is decoded unless `accepted`, bool [1]. Of the isolated function only the decoder is
    left, since it is set up in each call at a cost that grows with its ops.
    """
    source = tf.data.Dataset.from_tensors(tf.reshape(file, []))
    source = source.take(tf.cast(tf.reshape(accepted, []), tf.int64))
    decode = tf.function(
        lambda file: (decode_common(file), tf.constant(True)),
        input_signature=[source.element_spec],
        autograph=False,
    ).get_concrete_function()
    specification = tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([], tf.bool)
    mapped = tf.raw_ops.MapDataset(  # Dataset.map has no such argument
        input_dataset=tf.data.experimental.to_variant(source),
        other_arguments=[],
        f=decode,
        output_types=[each.dtype for each in specification],
        output_shapes=[each.shape for each in specification],
        use_inter_op_parallelism=False,
    )
    blank = tf.zeros([1, 1, 3], tf.uint8), tf.constant(False)
    return (
        tf.data.experimental.from_variant(mapped, specification)
        .ignore_errors()
        .concatenate(tf.data.Dataset.from_tensors(blank))
        .take(1)
        .get_single_element()
    )


def turn_and_resize(pixels: tf.Tensor, orientation: tf.Tensor, image_size: tf.Tensor) -> tf.Tensor:
    """Turns and resizes a picture, uint8 [any height, any width, 3], to uint8 [*image_size, 3].

    In this order, as Pillow would. The other order can differ by one level, and is for pictures of
    which a second copy would need too much memory.
    """
    first = turned_first(tf.shape(pixels, tf.int64)[:2])
    is_swapped = ~first & (orientation > 4)
    size = tf.where(is_swapped, image_size[::-1], image_size)
    small = resize(turn(pixels, tf.where(first, orientation, 1)), size)
    small = turn(small, tf.where(first, tf.ones_like(orientation), orientation))
    return tf.ensure_shape(small, [None, None, 3])
