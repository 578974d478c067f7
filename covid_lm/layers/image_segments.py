"""Segments of PNG, JPEG and WebP files, walked by their own lengths before decoding.

A decoder allocates what a length claims, and a PNG chunk of text can claim gigabytes in 41 bytes.
The walks find the parts that a decoder needs, and refuse a file whose lengths lead out of it. Each
step reads the next segments of every image in the batch. Sources: PNG (W3C) 5, JPEG (ITU-T T.81)
B.1 and B.2 with libjpeg's `next_marker`, and the WebP container specification.
"""

from typing import NamedTuple

import tensorflow as tf

from covid_lm.layers.image_header import little_endian

# Chunks that one step reads: large PNG files have many chunks of data, nearly all of one length.
_CHUNKS_PER_STEP = 16
# JPEG segments that one step reads: a loop takes as many ops as a segment.
_SEGMENTS_PER_STEP = 4
# Limits the time for crafted chains of tiny segments.
MAX_STEPS = 1024

_PNG_HEADER_END = 33  # of the signature and IHDR
CHUNK_FRAME = 12  # bytes of a chunk besides its content: length, name and checksum
EXIF_START = b"Exif\0\0"

_PALETTE, _DATA, _EXIF = 0x504C5445, 0x49444154, 0x65584966  # PLTE, IDAT, eXIf
_ANCILLARY = 0x20000000  # bit of a chunk's name

_WEBP_HEADER_END = 12
_WEBP_WINDOW = 24  # bytes read of a chunk: with the header of an animation's frame
_FRAME_HEADER_BYTES = 24  # of the chunk ANMF, before the chunks within it
_LOSSY, _LOSSLESS, _ANIMATED = (list(name) for name in (b"VP8 ", b"VP8L", b"ANMF"))

_WINDOW = 10  # bytes read of a JPEG segment; no scan header is shorter
# In this order, since the first three have a length and the last two end the walk.
_FRAME, _APP1, _WITH_LENGTH, _WITHOUT_LENGTH, _NO_MARKER, _SCAN, _END = range(7)
_MARKERS = {
    _WITHOUT_LENGTH: (0x01, *range(0xD0, 0xD9)),
    _FRAME: (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7),
    _APP1: (0xE1,),
    _SCAN: (0xDA,),
    _END: (0xD9,),
    _NO_MARKER: (0x00, 0xFF),
}
_MARKER_KINDS = [
    next((kind for kind, markers in _MARKERS.items() if marker in markers), _WITH_LENGTH)
    for marker in range(256)
]


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


class JpegFrame(NamedTuple):
    """Fields of JPEG files' frame header and first scan header, int64 [batch].

    Attributes:
        process: marker of the frame header, which gives the coding process; 0 if there is none.
        precision: bits of a sample.
        height, width: in pixels.
        components: number of colour components.
        scan: position of the first scan header; 0 if the file can't be read.
        scan_components: number of components in the first scan.
        exif: position and length of the first EXIF, int64 [batch, 2]; zeros if there is none.
    """

    process: tf.Tensor
    precision: tf.Tensor
    height: tf.Tensor
    width: tf.Tensor
    components: tf.Tensor
    scan: tf.Tensor
    scan_components: tf.Tensor
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


def png_chunks(image_bytes: tf.Tensor, is_png: tf.Tensor) -> PngChunks:
    """Walks PNG files, string [batch], to the chunk after the image data, which has to be there.

    `is_png`, bool [batch], is false for files to leave out.
    """
    end = _lengths(image_bytes)
    zeros = tf.zeros_like(end)
    pairs = tf.stack([zeros, zeros], axis=1)
    _, _, palette, data, exif, unfinished = tf.while_loop(
        lambda position, usual, palette, data, exif, active: tf.reduce_any(active),
        lambda *state: _next_chunks(image_bytes, end, *state),
        (zeros + _PNG_HEADER_END, zeros, pairs, pairs, pairs, is_png),
        maximum_iterations=MAX_STEPS,
    )
    return PngChunks(palette, tf.where(unfinished[:, None], pairs, data), exif)


def _next_chunks(
    image_bytes: tf.Tensor,
    end: tf.Tensor,
    position: tf.Tensor,
    usual: tf.Tensor,
    palette: tf.Tensor,
    data: tf.Tensor,
    exif: tf.Tensor,
    active: tf.Tensor,
) -> tuple[tf.Tensor, ...]:
    """One step: any number of data chunks as long as the last chunk, `usual`, then one of any kind.

    Returns the arguments from `position` on, advanced.
    """
    starts = position[:, None] + usual[:, None] * tf.range(_CHUNKS_PER_STEP, dtype=tf.int64)
    # The start of the file in place of what is outside: no chunk.
    fields = read_values(image_bytes, tf.where(starts <= end[:, None], starts, 0), tf.int32, 8)
    sizes, names = fields[..., 0] + CHUNK_FRAME, fields[..., 1]
    inside = (sizes >= CHUNK_FRAME) & (starts + sizes <= end[:, None])
    is_usual = (inside & (sizes == usual[:, None]) & (names == _DATA))[:, :-1]
    count = tf.reduce_sum(tf.math.cumprod(tf.cast(is_usual, tf.int64), axis=1), axis=1)
    run = count * usual
    size, name, fits = (tf.gather(x, count, axis=1, batch_dims=1) for x in (sizes, names, inside))
    is_data, is_palette = name == _DATA, name == _PALETTE
    data_length = data[:, 1] + run
    done = active & fits & ~is_data & (data_length > 0)
    goes_on = active & fits & ~done & (is_data | is_palette | (name & _ANCILLARY > 0))
    palette = tf.where(
        (goes_on & is_palette)[:, None], tf.stack([position + run, size], axis=1), palette
    )
    start = tf.where(data[:, 1] > 0, data[:, 0], position)
    data_length += tf.where(goes_on & is_data, size, 0)
    found = tf.stack([start, data_length], axis=1) * tf.cast(goes_on | done, tf.int64)[:, None]
    data = tf.where(active[:, None], found, data)
    is_exif = goes_on & (name == _EXIF) & (exif[:, 1] == 0)
    content = tf.stack([position + run + CHUNK_FRAME - 4, size - CHUNK_FRAME], axis=1)
    exif = tf.where(is_exif[:, None], content, exif)
    position, usual = (tf.where(goes_on, x, 0) for x in (position + run + size, size))
    return position, usual, palette, data, exif, goes_on


def jpeg_frames(image_bytes: tf.Tensor, is_jpeg: tf.Tensor) -> JpegFrame:
    """Walks JPEG files, string [batch], to the first scan header, as libjpeg does.

    `is_jpeg`, bool [batch], is false for files to leave out.
    """
    end = _lengths(image_bytes)
    zeros = tf.zeros_like(end)
    last = end - _WINDOW
    counts = zeros + _WINDOW
    kinds = tf.constant([[_NO_MARKER] * 256, _MARKER_KINDS])  # without and with 0xFF before

    def step(
        position: tf.Tensor, frame: tf.Tensor, exif: tf.Tensor, active: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        active &= position <= last
        text = tf.strings.substr(image_bytes, tf.where(active, position, 0), counts)
        window = tf.io.decode_raw(text, tf.uint8, fixed_length=_WINDOW)
        first, marker, high, low = tf.unstack(tf.cast(window[:, :4], tf.int64), axis=1)
        kind = tf.gather_nd(kinds, tf.stack([tf.cast(first == 0xFF, tf.int64), marker], axis=1))
        frame = tf.where(active & (kind == _FRAME) & (frame == 0), position, frame)
        length = high * 256 + low + 2
        is_exif = tf.reduce_all(window[:, 4:] == list(EXIF_START), axis=1)
        is_exif &= (kind == _APP1) & (length != _WINDOW)
        exif = tf.where(active & is_exif & (exif == 0), position, exif)
        active &= kind < _SCAN
        # libjpeg skips bytes between segments, too.
        advance = tf.where(kind < _WITHOUT_LENGTH, length, 1)
        return tf.where(active, position + advance, position), frame, exif, active

    def steps(*state: tf.Tensor) -> tuple[tf.Tensor, ...]:
        for _ in range(_SEGMENTS_PER_STEP):
            state = step(*state)
        return state

    position, frame, exif, unfinished = tf.while_loop(
        lambda position, frame, exif, active: tf.reduce_any(active),
        steps,
        (zeros + 2, zeros, zeros, is_jpeg),
        maximum_iterations=MAX_STEPS // _SEGMENTS_PER_STEP,
    )
    at_end = is_jpeg & ~unfinished & (position <= last)  # of a scan, or the end marker
    starts = tf.stack([frame, tf.where(at_end, position, 0), exif], axis=1)
    windows = read_values(image_bytes, starts, tf.uint8, _WINDOW)
    windows *= tf.cast(starts > 0, tf.int64)[:, :, None]
    frames, scans, segments = tf.unstack(windows, axis=1)
    is_scan = scans[:, 1] == _MARKERS[_SCAN][0]
    length = segments[:, 2] * 256 + segments[:, 3] + 2 - _WINDOW
    content = tf.stack([exif + _WINDOW, length], axis=1)
    return JpegFrame(
        process=frames[:, 1],
        precision=frames[:, 4],
        height=frames[:, 5] * 256 + frames[:, 6],
        width=frames[:, 7] * 256 + frames[:, 8],
        components=frames[:, 9],
        scan=tf.where(is_scan, position, 0),
        scan_components=tf.where(is_scan, scans[:, 4], 0),
        exif=tf.where((exif > 0)[:, None], content, 0),
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
