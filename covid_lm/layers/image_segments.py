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

# PNG chunks that one step reads: one after the other, then in a row of equal distances.
_CHUNKS_IN_CHAIN, _CHUNKS_IN_ROW = 6, 8
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

    Chunks are read where they are if each ends where the next begins and, after the first ones, if
    all have one length, as most chunks of data have. A wrong guess is read in the next step.

    Args:
        end, position: int64 [batch].
        palette, data: see `PngChunks`.
        found: position and size of the first chunks IDAT and eXIf, int64 [batch, 2, 2], or zeros.

    Returns:
        The arguments from `position` on, advanced.
    """
    limit = tf.expand_dims(end, 1)
    guess, headers = _read_chunk_headers(image_bytes, end, position)
    names = tf.bitwise.bitwise_and(headers, 0xFFFFFFFF)
    sizes = tf.bitwise.right_shift(headers, 32) + CHUNK_FRAME
    ends = guess + sizes
    starts = tf.concat([tf.expand_dims(position, 1), ends[:, :-1]], axis=1)
    is_sound = (guess == starts) & (sizes >= CHUNK_FRAME) & (ends <= limit)
    is_data = names == _DATA
    after_data = tf.concat([found[:, 0, :1] > 0, is_data[:, :-1]], axis=1)
    is_ancillary = tf.bitwise.bitwise_and(names, _ANCILLARY) > 0
    passed = is_sound & (is_data | (is_ancillary & ~after_data))
    is_exif = (names == _EXIF) & (headers != _EXIF)  # not empty

    kinds = tf.stack([is_data, is_exif, ~passed], axis=1)  # [batch, 3, chunks]
    first = tf.argmax(kinds, axis=2)
    fields = tf.stack([starts, sizes, names, tf.cast(is_sound, tf.int64)], axis=2)
    rows = tf.gather(fields, first, axis=1, batch_dims=1)  # [batch, 3, 4]
    is_new = tf.reduce_any(kinds, axis=2) & (first < first[:, 2:]) & active[:, None]
    is_new = is_new[:, :2] & (found[:, :, 1] == 0)
    found = tf.where(is_new[:, :, None], rows[:, :2, :2], found)
    start, size, name, sound = tf.unstack(rows[:, 2], axis=1)
    has_data = found[:, 0, 1] > 0
    is_sound = active & (sound > 0)
    is_done = is_sound & has_data
    is_palette = is_sound & ~has_data & (name == _PALETTE)
    palette = tf.where(is_palette[:, None], rows[:, 2, :2], palette)
    data_start = found[:, 0, 0]
    data = tf.where(is_done[:, None], tf.stack([data_start, start - data_start], axis=1), data)
    position = tf.where(is_palette, start + size, start)
    active = is_palette | (active & (sound == 0) & (first[:, 2] > 0))
    return position, palette, data, found, active


def _read_chunk_headers(
    image_bytes: tf.Tensor, end: tf.Tensor, position: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Guesses positions of the next chunks from `position` on, and reads their lengths and names.

    Returns:
        Positions, and length * 2**32 + name, int64 [batch, chunks] each.
    """
    counts = tf.zeros_like(position) + 8
    guesses, texts = [tf.minimum(position, end)], []
    for _ in range(_CHUNKS_IN_CHAIN):
        texts.append(tf.strings.substr(image_bytes, guesses[-1], counts))
        header = tf.squeeze(tf.io.decode_raw(texts[-1], tf.int64, False, 8), 1)  # length and name
        size = tf.bitwise.right_shift(header, 32) + CHUNK_FRAME
        guesses.append(tf.clip_by_value(guesses[-1] + size, 0, end))
    row = tf.expand_dims(size, 1) * tf.range(1, _CHUNKS_IN_ROW, dtype=tf.int64)
    row = tf.clip_by_value(tf.expand_dims(guesses[-1], 1) + row, 0, tf.expand_dims(end, 1))
    guesses += tf.unstack(row, axis=1)
    texts += [tf.strings.substr(image_bytes, guess, counts) for guess in guesses[len(texts) :]]
    # A last one that is nowhere.
    guess = tf.stack([*guesses, tf.zeros_like(position) - 1], axis=1)  # [batch, chunks]
    texts.append(tf.zeros_like(image_bytes))
    headers = tf.io.decode_raw(tf.stack(texts, axis=1), tf.int64, False, 8)
    return guess, tf.squeeze(headers, 2)


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
