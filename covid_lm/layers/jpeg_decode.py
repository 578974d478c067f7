"""JPEG files: their segments before the first scan, their scans, and decoding.

The segments are walked by their own lengths. Files of several scans and without their end marker
are decoded, too. Sources: JPEG (ITU-T T.81) B.1 and B.2 with libjpeg's `next_marker`.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from covid_lm.layers.image_segments import walk

EXIF_START = b"Exif\0\0"

# Segments that one step reads; most files have no more before their first scan.
_SEGMENTS_PER_STEP = 13
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

# Bytes read of a JPEG segment, and its EXIF segments: of any content, and of none. -1 for any byte.
_SEGMENT_BYTES = 12
_EXIF_SEGMENTS = np.array(
    [[0xFF, 0xE1, *length, *EXIF_START, -1, -1] for length in ((-1, -1), (0, 8))], np.int32
)
# Fields of a JPEG: the number of the segment in `found` of `_next_segments`, and the field's first
# and last byte. Byte 12 is the segment's position.
_JPEG_PLACES = {
    "process": (0, 1, 1),
    "precision": (0, 4, 4),
    "height": (0, 5, 6),
    "width": (0, 7, 8),
    "components": (0, 9, 9),
    "exif": (1, 12, 12),
    "exif_length": (1, 2, 3),
    "marker": (2, 1, 1),
    "scan": (2, 12, 12),
    "scan_components": (2, 4, 4),
}
_JPEG_FIELDS = np.zeros([3, _SEGMENT_BYTES + 1, len(_JPEG_PLACES)], np.int64)
for _number, (_segment, _byte, _end) in enumerate(_JPEG_PLACES.values()):
    _JPEG_FIELDS[_segment, _end, _number] = 1
    if _byte < _end:
        _JPEG_FIELDS[_segment, _byte, _number] = 256
_JPEG_FIELDS = _JPEG_FIELDS.reshape(-1, len(_JPEG_PLACES))

# Limit the time that crafted JPEG files take: each scan costs time for every pixel.
_MAX_SCANS, _MAX_SCANNED_PIXELS = 100, 2**30
_SCAN_START, _END_MARKER = b"\xff\xda", b"\xff\xd9"
# Continuations of cut JPEG data that decode to different pixels; libjpeg's own is zeros.
_FILLS = tuple(bytes((29 * k * k + 83 * k + seed) % 251 for k in range(96)) for seed in (7, 170))


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


def jpeg_frames(image_bytes: tf.Tensor, is_jpeg: tf.Tensor, steps: int | None = None) -> JpegFrame:
    """Walks JPEG files, string [batch], to the first scan header, as libjpeg does.

    `is_jpeg`, bool [batch], is false for files to leave out. For `steps`, see `walk`.
    """
    last = tf.strings.length(image_bytes) - _WINDOW
    position = tf.zeros_like(last) + 2
    found = tf.zeros([tf.size(last), 3, _SEGMENT_BYTES + 1], tf.int32)
    _, found, _ = walk(
        lambda *state: _next_segments(image_bytes, last, *state),
        (position, found, is_jpeg),
        steps,
    )
    found = tf.cast(tf.reshape(found, [-1, 3 * (_SEGMENT_BYTES + 1)]), tf.int64)
    values = tf.unstack(tf.linalg.matmul(found, _JPEG_FIELDS), axis=1)
    fields = dict(zip(_JPEG_PLACES, values, strict=True))
    marker, exif, length = (fields.pop(name) for name in ("marker", "exif", "exif_length"))
    content = tf.stack([exif + _WINDOW, length + 2 - _WINDOW], axis=1)
    is_scan = marker == _MARKERS[_SCAN][0]
    for name in ("scan", "scan_components"):
        fields[name] = tf.where(is_scan, fields[name], 0)
    return JpegFrame(**fields, exif=tf.where((exif > 0)[:, None], content, 0))


def _next_segments(
    image_bytes: tf.Tensor,
    last: tf.Tensor,
    position: tf.Tensor,
    found: tf.Tensor,
    active: tf.Tensor,
) -> tuple[tf.Tensor, ...]:
    """One step: segments that have a length, then a byte, since libjpeg skips what is between them.

    Args:
        last: largest position of a segment, int32 [batch].
        position: int32 [batch].
        found: bytes and position of the first frame header, EXIF, and scan header or end marker,
            int32 [batch, 3, 13], or zeros.

    Returns:
        The arguments from `position` on, advanced.
    """
    counts = tf.zeros_like(position) + _SEGMENT_BYTES
    two = tf.zeros_like(position) + 2
    limit = tf.maximum(last + 1, 0)
    starts, texts = [tf.minimum(position, limit)], []
    for _ in range(_SEGMENTS_PER_STEP):
        texts.append(tf.strings.substr(image_bytes, starts[-1], counts))
        header = tf.squeeze(tf.io.decode_raw(texts[-1], tf.int32, False, 4), 1)  # marker, length
        length = tf.bitwise.bitwise_and(header, 0xFFFF)
        starts.append(tf.minimum(tf.add_n([starts[-1], length, two]), limit))
    texts.append(tf.zeros_like(image_bytes))
    start = tf.stack(starts, axis=1)  # [batch, segments]
    windows = tf.io.decode_raw(tf.stack(texts, axis=1), tf.uint8, fixed_length=_SEGMENT_BYTES)
    windows = tf.cast(windows, tf.int32)
    is_marker = (windows[..., 0] == 0xFF) & (start <= last[:, None])
    kind = tf.where(is_marker, tf.gather(_MARKER_KINDS, windows[..., 1]), _NO_MARKER)
    is_exif, is_empty = tf.unstack(
        tf.reduce_all((windows[:, :, None] == _EXIF_SEGMENTS) | (_EXIF_SEGMENTS < 0), axis=3),
        axis=2,
    )
    is_end = kind >= _SCAN
    is_exif &= (kind == _APP1) & ~is_empty
    kinds = tf.stack([kind == _FRAME, is_exif, is_end, kind >= _WITHOUT_LENGTH], axis=1)
    first = tf.argmax(kinds, axis=2)  # [batch, 4]
    fields = tf.concat([windows, start[:, :, None]], axis=2)
    rows = tf.gather(fields, first, axis=1, batch_dims=1)  # [batch, 4, 13]
    is_new = tf.reduce_any(kinds, axis=2) & (first <= first[:, 3:]) & active[:, None]
    is_new = is_new[:, :3] & (found[:, :, -1] == 0)
    found = tf.where(is_new[:, :, None], rows[:, :3], found)
    position = rows[:, 3, -1] + tf.cast(first[:, 3] < _SEGMENTS_PER_STEP, tf.int32)
    active &= (found[:, 2, -1] == 0) & (position <= last)
    return position, found, active


class JpegScans(NamedTuple):
    """The scans of one JPEG file.

    Attributes:
        data: the file's bytes from the first scan header on, uint8 [n].
        positions: of the scan headers in `data`, before the first end marker, int64 [scans].
        has_end: scalar bool, true if there is an end marker.
    """

    data: tf.Tensor
    positions: tf.Tensor
    has_end: tf.Tensor


def jpeg_scans(image_bytes: tf.Tensor, start: tf.Tensor) -> JpegScans:
    """Finds the scans of a file, scalar string, whose first scan header is at `start`, int64."""
    length = tf.strings.length(image_bytes)
    data = tf.strings.substr(image_bytes, tf.cast(start, tf.int32), length)
    data = tf.io.decode_raw(data, tf.uint8)
    # Coded data has no such pairs of bytes.
    is_marker = data[:-1] == 0xFF
    scans = tf.where(is_marker & (data[1:] == 0xDA))[:, 0]
    ends = tf.where(is_marker & (data[1:] == 0xD9))[:, 0]
    first_end = tf.concat([ends, [tf.size(data, tf.int64)]], 0)[0]
    return JpegScans(data, tf.boolean_mask(scans, scans < first_end), tf.size(ends) > 0)


def jpeg_scans_allowed(count: tf.Tensor, pixels: tf.Tensor) -> tf.Tensor:
    """True if images of so many scans and pixels, int64 [...], are decoded: bool [...]."""
    return (count <= _MAX_SCANS) & (count * pixels <= _MAX_SCANNED_PIXELS)


def have_few_scans(
    image_bytes: tf.Tensor, start: tf.Tensor, pixels: tf.Tensor, is_jpeg: tf.Tensor
) -> tf.Tensor:
    """True if files, string [batch], have no more scans than are decoded: bool [batch].

    Counts scans after an end marker, too, of which `jpeg_scans` finds none.

    Args:
        start: position of the first scan header, int64 [batch].
        pixels: int64 [batch].
        is_jpeg: bool [batch], false for files to leave out.
    """
    rest = tf.where(is_jpeg, tf.constant(tf.int32.max, tf.int64), 0)
    data = tf.strings.substr(image_bytes, start, rest)
    # The first piece is empty. The last one is the rest.
    pieces = tf.raw_ops.StringSplitV2(input=data, sep=_SCAN_START, maxsplit=_MAX_SCANS + 1)
    row, piece = tf.unstack(pieces.indices, axis=1)
    count = tf.math.unsorted_segment_max(piece, row, tf.size(data))
    return is_jpeg & jpeg_scans_allowed(count, pixels)


def decode_jpeg(image_bytes: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG of one scan, scalar string, with libjpeg's accurate DCT."""
    return tf.io.decode_jpeg(image_bytes, channels=3, dct_method="INTEGER_ACCURATE")


def decode_jpeg_scans(image_bytes: tf.Tensor, parts: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Decodes a JPEG of any number of scans, also without its end marker if all scans are there."""
    data, scans, has_end = jpeg_scans(image_bytes, parts[0])
    few = jpeg_scans_allowed(tf.size(scans, tf.int64), tf.reduce_prod(size))
    # An empty file raises an error, without the Assert op, which logs its input.
    accepted = tf.where(few, image_bytes, "")

    def without_end() -> tf.Tensor:
        # A last 0xFF is the first half of a marker, or of a byte of data that is then missing.
        last = tf.cast(data[-1] == 0xFF, tf.int32)
        cut = tf.strings.substr(accepted, 0, tf.strings.length(accepted) - last)
        # If data is missing, the pixels depend on what is in its place. It can begin with the next
        # restart marker.
        restarts = tf.where((data[:-1] == 0xFF) & (data[1:] // 8 == 0xD0 // 8))[:, 0]
        number = tf.reduce_sum(tf.cast(restarts > scans[-1], tf.int32)) % 8
        restart = tf.gather([bytes([0xFF, 0xD0 + k]) for k in range(8)], number)
        pixels = decode_jpeg(cut + _END_MARKER)
        complete = _all_coefficients(data, scans, parts[1])
        for fill in _FILLS:
            # One after the other, for less memory.
            with tf.control_dependencies([pixels, complete]):
                other = decode_jpeg(tf.strings.join([cut, fill, restart, fill, _END_MARKER]))
                complete &= tf.reduce_all(pixels == other)
        return tf.cond(complete, lambda: pixels, lambda: decode_jpeg(tf.constant(b"")))

    return tf.cond(has_end, lambda: decode_jpeg(accepted), without_end)


def _all_coefficients(data: tf.Tensor, scans: tf.Tensor, components: tf.Tensor) -> tf.Tensor:
    """True if the scans at these positions give every coefficient to its last bit, scalar bool."""
    count = tf.cast(tf.gather(data, scans + 4), tf.int64)
    fields = tf.gather(data, (scans + 5 + 2 * count)[:, None] + tf.range(3, dtype=tf.int64))
    first, last, bits = tf.unstack(tf.cast(fields, tf.int64), axis=1)
    given = tf.where(bits % 16 == 0, count * (last - first + 1), 0)
    return tf.reduce_sum(given) >= 64 * components
