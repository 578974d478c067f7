"""Chunks of PNG and WebP files, walked by their own lengths before decoding.

A decoder allocates what a length claims, and a PNG chunk of text can claim gigabytes in 41 bytes.
The walks find the parts that a decoder needs, and refuse a file whose lengths lead out of it. Each
step reads the next chunks of every image in the batch. Sources: PNG (W3C) 5 and the WebP container
specification. `jpeg_decode` does the same for JPEG.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from covid_lm.layers.image_header import little_endian, uncommon

# PNG chunks that one step reads: one after the other, then data in a row of equal distances, since
# all chunks of data but the last one usually have one length, then one after the other.
_CHUNKS_BEFORE_ROW, _CHUNKS_IN_ROW, _CHUNKS_AFTER_ROW = 6, 20, 3
_CHUNKS_PER_STEP = _CHUNKS_BEFORE_ROW + _CHUNKS_AFTER_ROW + 1
# Limits the time for crafted chains of tiny segments.
MAX_STEPS = 1024

_PNG_HEADER_END = 33  # of the signature and IHDR
CHUNK_FRAME = 12  # bytes of a chunk besides its content: length, name and checksum

_PALETTE, _DATA, _EXIF = 0x504C5445, 0x49444154, 0x65584966  # PLTE, IDAT, eXIf
_ANCILLARY = 0x20000000  # bit of a chunk's name

_WEBP_HEADER_END = 12
_WEBP_WINDOW = 24  # bytes read of a chunk: with the header of an animation's frame
_FRAME_HEADER_BYTES = 24  # of the chunk ANMF, before the chunks within it
_LOSSY, _LOSSLESS, _ANIMATED = (list(name) for name in (b"VP8 ", b"VP8L", b"ANMF"))


class PngChunks(NamedTuple):
    """Positions and lengths of the chunks that are needed besides the header.

    Attributes:
        palette: of the chunk PLTE, int64 [batch, 2]; zeros if there is none.
        data: of the chunks IDAT, int64 [batch, 2]; zeros if the file can't be read.
        exif: of the content of the chunk eXIf, if it is before the data, int64 [batch, 2].
    """

    palette: tf.Tensor
    data: tf.Tensor
    exif: tf.Tensor


class WebpFrame(NamedTuple):
    """The first frame of WebP files, int64.

    Attributes:
        data: position and length of the chunk with its pixels, [batch, 2]; zeros if the file can't
            be read.
        size: height and width in pixels, [batch, 2].
        corner: top and left on the canvas, [batch, 2].
    """

    data: tf.Tensor
    size: tf.Tensor
    corner: tf.Tensor


def png_chunks(image_bytes: tf.Tensor, is_png: tf.Tensor, steps: int | None = None) -> PngChunks:
    """Walks PNG files, string [batch], to the chunk after the image data, which has to be there.

    `is_png`, bool [batch], is false for files to leave out. For `steps`, see `walk`.
    """
    end = _lengths(image_bytes)
    zeros = tf.zeros_like(end)
    pair = tf.stack([zeros, zeros], axis=1)
    state = (zeros + _PNG_HEADER_END, pair, pair, tf.stack([pair, pair], axis=1), is_png)
    _, palette, data, found, _ = walk(
        lambda *state: _next_chunks(image_bytes, end, *state), state, steps
    )
    frame = tf.constant([CHUNK_FRAME - 4, -CHUNK_FRAME], tf.int64)
    exif = found[:, 1]
    return PngChunks(palette, data, tf.where(exif > 0, exif + frame, 0))


def walk(
    step: Callable, state: tuple[tf.Tensor, ...], steps: int | None = None
) -> tuple[tf.Tensor, ...]:
    """Calls `step` until no file is active, as the last tensor of the state says.

    Most files take one step, which costs less outside of a loop. `steps` limits their number and
    needs neither a loop nor a branch; files with more are not read.
    """

    def is_unfinished(*state: tf.Tensor) -> tf.Tensor:
        return tf.reduce_any(state[-1])

    def others(*state: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return tf.while_loop(is_unfinished, step, state, maximum_iterations=MAX_STEPS)

    for _ in range(steps or 1):
        state = step(*state)
    if steps:
        return state
    return tf.cond(is_unfinished(*state), uncommon(lambda: others(*state)), lambda: state)


def _next_chunks(
    image_bytes: tf.Tensor,
    end: tf.Tensor,
    position: tf.Tensor,
    palette: tf.Tensor,
    data: tf.Tensor,
    found: tf.Tensor,
    active: tf.Tensor,
) -> tuple[tf.Tensor, ...]:
    """One step: chunks of data, and ancillary chunks before them, then one of another kind.

    A chunk at a position that turns out to be wrong is read again in the next step.

    Args:
        end, position: int64 [batch].
        palette, data: see `PngChunks`.
        found: position and size of the first chunks IDAT and eXIf, int64 [batch, 2, 2], or zeros.

    Returns:
        The arguments from `position` on, advanced.
    """
    guess, headers, skipped = _read_chunk_headers(image_bytes, end, position)
    names = tf.bitwise.bitwise_and(headers, 0xFFFFFFFF)
    sizes = tf.bitwise.right_shift(headers, 32) + CHUNK_FRAME
    ends = guess + sizes
    starts = tf.concat([tf.expand_dims(position, 1), (ends + skipped)[:, :-1]], axis=1)
    is_sound = (guess == starts) & (sizes >= CHUNK_FRAME) & (ends <= tf.expand_dims(end, 1))
    is_data = names == _DATA
    after_data = tf.concat([found[:, 0, :1] > 0, is_data[:, :-1]], axis=1)
    is_ancillary = tf.bitwise.bitwise_and(names, _ANCILLARY) > 0
    is_palette = names == _PALETTE
    first = tf.expand_dims(tf.argmax(is_palette, axis=1), 1)  # a second one is for the next step
    is_palette &= tf.range(_CHUNKS_PER_STEP, dtype=tf.int64) == first
    passed = is_sound & (is_data | ((is_ancillary | is_palette) & ~after_data))
    is_exif = (names == _EXIF) & (headers != _EXIF)  # not empty

    kinds = tf.stack([is_data, is_exif, is_palette, ~passed], axis=1)  # [batch, 4, chunks]
    first = tf.argmax(kinds, axis=2)
    fields = tf.stack([starts, sizes, names, tf.cast(is_sound, tf.int64)], axis=2)
    rows = tf.gather(fields, first, axis=1, batch_dims=1)  # [batch, 4, 4]
    is_new = tf.reduce_any(kinds, axis=2) & (first < first[:, 3:]) & active[:, None]
    palette = tf.where(is_new[:, 2:3], rows[:, 2, :2], palette)
    is_new = is_new[:, :2] & (found[:, :, 1] == 0)
    found = tf.where(is_new[:, :, None], rows[:, :2, :2], found)
    position, _, name, sound = tf.unstack(rows[:, 3], axis=1)
    data_start, data_size = tf.unstack(found[:, 0], axis=1)
    is_done = active & (sound > 0) & (data_size > 0)
    data = tf.where(is_done[:, None], tf.stack([data_start, position - data_start], axis=1), data)
    # A wrong guess, or a further palette.
    again = (sound == 0) | ((name == _PALETTE) & (data_size == 0))
    return position, palette, data, found, active & again & (first[:, 3] > 0)


def _read_chunk_headers(
    image_bytes: tf.Tensor, end: tf.Tensor, position: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Guesses positions of the next chunks from `position` on, and reads their lengths and names.

    Returns:
        Positions, and length * 2**32 + name, int64 [batch, chunks] each; and the bytes of the
        chunks of data that are left out after these chunks, int64 [batch, chunks].
    """
    counts = tf.zeros_like(position) + 8

    def read(guess: tf.Tensor, chunks: int) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        guesses, headers = [], []
        for _ in range(chunks):
            guesses.append(tf.clip_by_value(guess, 0, end))
            text = tf.strings.substr(image_bytes, guesses[-1], counts)
            headers.append(tf.squeeze(tf.io.decode_raw(text, tf.int64, False, 8), 1))
            size = tf.bitwise.right_shift(headers[-1], 32) + CHUNK_FRAME
            guess = guesses[-1] + size
        return guesses, headers

    first, headers = read(position, _CHUNKS_BEFORE_ROW)
    last = headers[-1]
    size = tf.bitwise.right_shift(last, 32) + CHUNK_FRAME
    row = tf.range(1, _CHUNKS_IN_ROW + 1, dtype=tf.int64)
    row = tf.expand_dims(first[-1], 1) + tf.expand_dims(size, 1) * row
    row = tf.unstack(tf.clip_by_value(row, 0, tf.expand_dims(end, 1)), axis=1)
    texts = tf.stack([tf.strings.substr(image_bytes, guess, counts) for guess in row], axis=1)
    texts = tf.squeeze(tf.io.decode_raw(texts, tf.int64, False, 8), 2)  # [batch, row]
    is_data = tf.bitwise.bitwise_and(last, 0xFFFFFFFF) == _DATA
    is_same = (texts == tf.expand_dims(last, 1)) & tf.expand_dims(is_data, 1)
    skipped = size * tf.reduce_sum(tf.math.cumprod(tf.cast(is_same, tf.int64), axis=1), axis=1)
    others, further = read(first[-1] + size + skipped, _CHUNKS_AFTER_ROW)
    # A last one that is nowhere.
    nothing = tf.zeros_like(position)
    before, after = [nothing] * (_CHUNKS_BEFORE_ROW - 1), [nothing] * (_CHUNKS_AFTER_ROW + 1)
    return (
        tf.stack([*first, *others, nothing - 1], axis=1),
        tf.stack([*headers, *further, nothing], axis=1),
        tf.stack([*before, skipped, *after], axis=1),
    )


def webp_frames(image_bytes: tf.Tensor, is_webp: tf.Tensor) -> WebpFrame:
    """Walks WebP files, string [batch], to the pixels of the only or the first frame.

    `is_webp`, bool [batch], is false for files to leave out.
    """
    end = _lengths(image_bytes)

    def step(
        position: tf.Tensor, frame: tf.Tensor, active: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        window = _read_webp(image_bytes, position, end)
        size = little_endian(window, 4, 4) + 8
        active &= position + size <= end
        name = window[:, None, :4]
        is_kind = tf.reduce_all(name == [_LOSSY, _LOSSLESS, _ANIMATED], axis=2)
        animated = active & is_kind[:, 2]
        frame = tf.where(animated[:, None], window, frame)
        active &= ~(is_kind[:, 0] | is_kind[:, 1])
        header = tf.constant(_FRAME_HEADER_BYTES, tf.int64)
        advance = tf.where(is_kind[:, 2], header, size + size % 2)
        return tf.where(active, position + advance, position), frame, active

    none = tf.zeros([tf.size(end), _WEBP_WINDOW], tf.int64)
    position, frame, unfinished = tf.while_loop(
        lambda position, frame, active: tf.reduce_any(active),
        step,
        (tf.zeros_like(end) + _WEBP_HEADER_END, none, is_webp),
        maximum_iterations=MAX_STEPS,
    )
    window = _read_webp(image_bytes, position, end)
    length = little_endian(window, 4, 4) + 8
    lossless_bits = little_endian(window, 9, 4)
    lossy = [little_endian(window, 16, 2) % 2**14, little_endian(window, 14, 2) % 2**14]
    lossless = [lossless_bits // 2**14 % 2**14 + 1, lossless_bits % 2**14 + 1]
    is_lossless = tf.reduce_all(window[:, :4] == _LOSSLESS, axis=1)
    found = is_webp & ~unfinished & (is_lossless | tf.reduce_all(window[:, :4] == _LOSSY, axis=1))
    found &= position + length <= end
    corner = [little_endian(frame, 11, 3) * 2, little_endian(frame, 8, 3) * 2]
    return WebpFrame(
        data=tf.where(found[:, None], tf.stack([position, length], axis=1), 0),
        size=tf.where(is_lossless[:, None], tf.stack(lossless, axis=1), tf.stack(lossy, axis=1)),
        corner=tf.stack(corner, axis=1),
    )


def _read_webp(image_bytes: tf.Tensor, position: tf.Tensor, end: tf.Tensor) -> tf.Tensor:
    inside = tf.where(position <= end, position, 0)[:, None]
    return read_values(image_bytes, inside, tf.uint8, _WEBP_WINDOW)[:, 0]


def _lengths(image_bytes: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.strings.length(image_bytes), tf.int64)


def read_values(
    image_bytes: tf.Tensor, starts: tf.Tensor, dtype: tf.DType, count: int
) -> tf.Tensor:
    """Big-endian values in the `count` bytes at `starts`, int64 [batch, n], zeros after the end.

    Returns int64 [batch, n, values].
    """
    counts = tf.zeros_like(starts[:, 0]) + count
    # One op for each start: broadcast, the op copies every file as often.
    texts = [tf.strings.substr(image_bytes, start, counts) for start in tf.unstack(starts, axis=1)]
    values = tf.io.decode_raw(tf.stack(texts, axis=1), dtype, False, count)
    return tf.cast(values, tf.int64)
