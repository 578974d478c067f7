"""Measures what one blank image of each kind costs to decode: python -m tests.layers.decoder_costs.

Prints a row for each kind: megapixels, bytes of the file, peak memory above idle in MB, and seconds
of processor time, resizing included. Every kind has a process of its own. Linux only.
"""

import ctypes
import gc
import pathlib
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import Image

from covid_lm.layers.image_input import ImageInput
from tests.layers.encoded_images import bmp_16, encode, gif, picture, png_chunk, png_file

STATUS = pathlib.Path("/proc/self/status")
CHANNELS = {0: 1, 2: 3, 6: 4}  # by PNG's colour type
# Left, top and steps of the seven passes of an interlaced PNG.
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
PASSES += ((0, 1, 1, 2),)


def png(side: int, color: int = 2, depth: int = 8, interlaced: bool = False) -> bytes:
    """A PNG of zeros, compressed as well as deflate can."""
    bits = CHANNELS[color] * depth
    num_bytes = side * (1 + (side * bits + 7) // 8)
    if interlaced:
        num_bytes = 0
        for left, top, across, down in PASSES:
            width, height = -(-(side - left) // across), -(-(side - top) // down)
            num_bytes += height * (1 + (width * bits + 7) // 8)
    content = png_file(side, side, depth, color, zlib.compress(bytes(num_bytes), 9))
    if not interlaced:
        return content
    header = content[12:28] + b"\1"  # IHDR, whose last byte is the interlace method
    return content[:12] + header + struct.pack(">I", zlib.crc32(header)) + content[33:]


def blank(mode: str, image_format: str, **options) -> Callable[[int], bytes]:
    """A function from the side in pixels to an encoded image of zeros."""
    return lambda side: encode(Image.new(mode, (side, side)), image_format, **options)


def repeated_scans(side: int) -> bytes:
    """A progressive JPEG whose last scan comes 27 times."""
    content = blank("L", "JPEG", quality=20, progressive=True)(side)
    last = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + last * 26 + b"\xff\xd9"


JPEG = {"quality": 20, "subsampling": 0}
TURN = struct.pack(">4sIHHHIH2xI", b"MM\0*", 8, 1, 0x112, 3, 1, 6, 0)  # EXIF, orientation 6


def turned_png(side: int) -> bytes:
    whole = png(side)
    return whole[:33] + png_chunk(b"eXIf", TURN) + whole[33:]


COSTLY = {  # kind: side in pixels, near the kind's limit, and its encoder
    "PNG": (8000, png),
    "PNG, interlaced": (8000, lambda side: png(side, interlaced=True)),
    "PNG, interlaced 16-bit RGBA": (8000, lambda side: png(side, 6, 16, interlaced=True)),
    "PNG, turned": (6600, turned_png),
    "PNG, turned when small": (8000, turned_png),
    "JPEG, one scan": (8000, blank("RGB", "JPEG", **JPEG)),
    "JPEG, turned": (6600, blank("RGB", "JPEG", exif=b"Exif\0\0" + TURN, **JPEG)),
    "JPEG, progressive colour": (4700, blank("RGB", "JPEG", progressive=True, **JPEG)),
    "JPEG, progressive colour, no end marker": (
        4000,
        lambda side: blank("RGB", "JPEG", progressive=True, **JPEG)(side)[:-2],
    ),
    "JPEG, progressive gray": (5700, blank("L", "JPEG", quality=20, progressive=True)),
    "JPEG, 32 scans": (5700, repeated_scans),
    "GIF, smaller than its screen": (
        5100,
        lambda side: gif(Image.new("P", (side - 10, side)), (side, side), (0, 5)),
    ),
    "BMP of 8 bits": (4300, blank("L", "BMP")),
    "BMP of 16 bits": (3200, lambda side: bmp_16(np.zeros((side, side, 3), np.uint8), True)),
    "BMP of 24 bits": (8000, blank("RGB", "BMP")),
    "BMP of 32 bits": (6000, blank("RGBA", "BMP")),
    "WebP with alpha": (4300, blank("RGBA", "WEBP", lossless=True, method=0)),
}


def megabytes(field: str) -> float:
    """A field of this process's status in MB."""
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) / 1024


def measure(kind: str) -> str:
    """The row of a kind, in this process."""
    side, make = COSTLY[kind]
    layer, content = ImageInput(22), make(side)
    small = encode(Image.fromarray(picture(20, 20)), "PNG")
    layer(tf.constant([small]))
    image = tf.constant([content])
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    pathlib.Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    idle, start = megabytes("VmRSS"), time.process_time()
    outcome = layer(image)
    seconds, peak = time.process_time() - start, megabytes("VmHWM") - idle
    reason = outcome["reason"].numpy()[0].decode() or "read"
    return f"{kind:40} {side**2 / 1e6:4.0f} {len(content):11} {peak:6.0f} {seconds:6.2f}  {reason}"


if __name__ == "__main__":
    if sys.argv[1:]:
        print(measure(sys.argv[1]))
    else:
        for name in COSTLY:
            command = [sys.executable, "-m", "tests.layers.decoder_costs", name]
            print(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout, end=""
            )
