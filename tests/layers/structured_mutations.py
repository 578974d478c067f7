"""Hostile images: sound containers, false lengths, sizes, kinds, orders or numbers of parts."""

import struct
import zlib
from collections.abc import Callable

import numpy as np

from tests.layers.encoded_images import frame_position, patch

EXTREMES = (0, 1, 2, 7, 8, 255, 256, 65_535, 2**16, 8000, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
PNG_NAMES = (
    b"tEXt",
    b"zTXt",
    b"iTXt",
    b"iCCP",
    b"PLTE",
    b"IDAT",
    b"eXIf",
    b"sPLT",
    b"tRNS",
    b"IEND",
)
MARKERS = (0xC0, 0xC2, 0xC3, 0xC4, 0xC9, 0xD0, 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xE1, 0xFE, 0xF7, 0x01)
Part = tuple[bytes, bytes]  # name or marker, content


def structured_mutations(files: list[bytes], count: int, seed: int) -> list[bytes]:
    """Mutants of PNG, JPEG, GIF, BMP and WebP files, each changed in one to three ways."""
    generator = np.random.default_rng(seed)
    mutants = []
    for _ in range(count):
        data = files[generator.integers(len(files))]
        mutants.append(_mutator(data)(data, generator))
    return mutants


def _mutator(data: bytes) -> Callable[[bytes, np.random.Generator], bytes]:
    starts = {b"\x89PNG": _png, b"\xff\xd8": _jpeg, b"GIF8": _gif, b"BM": _bmp, b"RIFF": _webp}
    return next(mutator for start, mutator in starts.items() if data.startswith(start))


def _number(generator: np.random.Generator) -> int:
    if generator.random() < 0.5:
        return int(generator.choice(EXTREMES))
    return int(2 ** generator.uniform(0, 32))


def _rearranged(parts: list[Part], generator: np.random.Generator) -> list[Part]:
    """Parts removed, repeated up to 256 times, exchanged, cut, or with other bytes in them."""
    parts = list(parts)
    for _ in range(generator.integers(1, 3)):
        place = int(generator.integers(len(parts)))
        name, content = parts[place]
        kind = generator.integers(6)
        if kind == 0:
            del parts[place]
        elif kind == 1:
            parts[place:place] = [parts[place]] * int(2 ** generator.uniform(0, 8))
        elif kind == 2:
            other = int(generator.integers(len(parts)))
            parts[place], parts[other] = parts[other], parts[place]
        elif kind == 3:
            parts[place] = name, content[: int(generator.integers(len(content) + 1))]
        elif content:
            position = int(generator.integers(min(len(content), 24)))
            number = _number(generator).to_bytes(4, ("big", "little")[kind % 2])
            parts[place] = name, patch(content, position, number)[: len(content)]
        if not parts:
            break
    return parts


def _png(data: bytes, generator: np.random.Generator) -> bytes:
    parts, position = [], 8
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        parts.append((data[position + 4 : position + 8], data[position + 8 :][:length]))
        position += length + 12
    kind = generator.integers(4)
    if kind == 0:
        bomb = b"k\0\0" + zlib.compress(bytes(int(2 ** generator.uniform(10, 21))))
        name = PNG_NAMES[generator.integers(len(PNG_NAMES))]
        parts.insert(int(generator.integers(1, len(parts) + 1)), (name, bomb))
    elif kind == 1:  # the data in many small chunks
        size = int(2 ** generator.uniform(0, 8))
        pieces = [(n, c[i : i + size]) for n, c in parts for i in range(0, max(len(c), 1), size)]
        parts = [parts[0], *(part for part in pieces if part[0] == b"IDAT"), parts[-1]]
    elif kind == 2:
        parts = _rearranged(parts, generator)
    lying = int(generator.integers(len(parts) + 1)) if kind == 3 else -1
    chunks = []
    for place, (name, content) in enumerate([*parts, (PNG_NAMES[generator.integers(5)], b"")]):
        if place == len(parts) and lying != place:
            continue
        length = _number(generator) if place == lying else len(content)
        checksum = struct.pack(">I", zlib.crc32(name + content))
        chunks.append(struct.pack(">I", length) + name + content + checksum)
    if lying == len(parts):  # right after the header
        chunks = [chunks[0], chunks[-1][:8], *chunks[1:-1]][: int(generator.integers(2, 5))]
    return data[:8] + b"".join(chunks)


def _jpeg(data: bytes, generator: np.random.Generator) -> bytes:
    parts: list[Part] = []
    position = 2
    while data[position + 1] != 0xDA:
        length = int.from_bytes(data[position + 2 : position + 4]) + 2
        parts.append((data[position : position + 2], data[position + 4 : position + length]))
        position += length
    scans = data[position:]
    kind = generator.integers(5)
    if kind == 0:
        parts = _rearranged(parts, generator)
    elif kind == 1:
        marker = bytes([0xFF, MARKERS[generator.integers(len(MARKERS))]])
        parts.insert(int(generator.integers(len(parts) + 1)), (marker, bytes(generator.bytes(9))))
    elif kind == 2:  # many scans
        last = scans.rindex(b"\xff\xda")
        piece = scans[last:-2][: int(2 ** generator.uniform(3, 9))]
        scans = scans[:-2] + piece * int(2 ** generator.uniform(0, 10)) + b"\xff\xd9"
    elif kind == 3:
        place = int(generator.integers(len(scans)))
        marker = bytes([0xFF, MARKERS[generator.integers(len(MARKERS))]])
        scans = scans[:place] + marker + scans[place + int(generator.integers(9)) :]
    else:
        scans = scans[: len(scans) - int(2 ** generator.uniform(0, 8))]
    segments = [m + struct.pack(">H", (len(c) + 2) % 2**16) + c for m, c in parts]
    if generator.random() < 0.3 and segments:
        place = int(generator.integers(len(segments)))
        lie = struct.pack(">H", _number(generator) % 2**16)
        segments[place] = patch(segments[place], 2, lie)
    if generator.random() < 0.4:
        frame = [k for k, s in enumerate(segments) if s[1] in (0xC0, 0xC2) and len(s) > 15]
        for place in frame[:1]:
            sides = struct.pack(">HH", _number(generator) % 2**16, _number(generator) % 2**16)
            sampling = bytes([generator.integers(256)])
            segments[place] = patch(patch(segments[place], 5, sides), 11, sampling)
    return data[:2] + b"".join(segments) + scans


def _fields(data: bytes, fields: dict[int, int], generator: np.random.Generator) -> bytes:
    """Little-endian fields, position to number of bytes, overwritten by one to three numbers."""
    for _ in range(generator.integers(1, 4)):
        position = int(generator.choice(list(fields)))
        size = fields[position]
        value = (_number(generator) % 256**size).to_bytes(size, "little")
        data = patch(data, position, value) if position + size <= len(data) else data
    return data


def _gif(data: bytes, generator: np.random.Generator) -> bytes:
    frame = frame_position(data)
    kind = generator.integers(4)
    if kind == 0:
        extension = b"!\xfe" + (b"\xff" + bytes(255)) * int(2 ** generator.uniform(0, 5)) + b"\0"
        return data[:frame] + extension * int(2 ** generator.uniform(0, 6)) + data[frame:]
    if kind == 1:
        return data[:-1] + data[frame:-1] * int(2 ** generator.uniform(0, 8)) + b";"
    sides = {6: 2, 8: 2, 10: 1, 11: 1}
    inside = {frame + k: 2 for k in (1, 3, 5, 7)} | {frame + 9: 1, frame + 10: 1, frame + 11: 1}
    return _fields(data, sides | inside, generator)


def _bmp(data: bytes, generator: np.random.Generator) -> bytes:
    fields = {2: 4, 10: 4, 14: 4, 18: 4, 22: 4, 26: 2, 28: 2, 30: 4, 34: 4, 46: 4, 50: 4, 54: 4}
    data = _fields(data, fields, generator)
    if generator.random() < 0.3:
        bits, compression = generator.choice((1, 4, 8, 16, 24, 32)), generator.integers(7)
        data = patch(data, 28, struct.pack("<HI", bits, compression))
    return data


def _webp(data: bytes, generator: np.random.Generator) -> bytes:
    parts, position = [], 12
    while position < len(data):
        (length,) = struct.unpack_from("<I", data, position + 4)
        parts.append((data[position : position + 4], data[position + 8 :][:length]))
        position += 8 + length + length % 2
    kind = generator.integers(4)
    if kind == 0:
        names = (b"VP8 ", b"VP8L", b"VP8X", b"ANMF", b"ANIM", b"ALPH", b"ICCP", b"EXIF", b"????")
        content = bytes(generator.bytes(int(generator.integers(40))))
        name = names[generator.integers(len(names))]
        parts.insert(int(generator.integers(len(parts) + 1)), (name, content))
    elif kind < 3:
        parts = _rearranged(parts, generator)
    lying = int(generator.integers(len(parts) + 1)) if kind == 3 else -1
    chunks = b""
    for place, (name, content) in enumerate(parts):
        length = _number(generator) if place == lying else len(content)
        chunks += name + struct.pack("<I", length) + content + bytes(len(content) % 2)
    size = _number(generator) if lying == len(parts) else len(chunks) + 4
    return b"RIFF" + struct.pack("<I", size) + b"WEBP" + chunks
