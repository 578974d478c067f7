"""Encoded images for tests, good and bad, with Pillow as the oracle of the good ones.

All are made by Pillow or byte by byte, without the package.
"""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import ExifTags, Image, ImageOps


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth picture with some noise, uint8 [height, width, 3], its three channels different."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = np.stack([np.sin(9 * x + seed), np.cos(7 * y), np.sin(5 * (x + y) + 2)], axis=-1)
    noisy = 128 + 90 * waves + generator.normal(0, 12, (height, width, 3)) + [30, 0, -30]
    return np.clip(noisy, 0, 255).astype(np.uint8)


def encode(image: Image.Image, file_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def resized(image_bytes: bytes, size: tuple[int, int] = (32, 32)) -> np.ndarray:
    """Pillow's result: turned by EXIF, without alpha, antialiased, int32 [height, width, 3]."""
    if image_bytes.startswith(b"\xff\xd8"):
        image_bytes += b"\xff\xd9"  # Pillow needs it for some JPEG files, and reads up to the first
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(image_bytes)))
    if image.mode.startswith("I"):
        # Pillow clips 16-bit gray instead of scaling it.
        high_byte = (np.asarray(image).astype(np.int32) >> 8).astype(np.uint8)
        image = Image.fromarray(high_byte)
    rgb = image.convert("RGB").resize(size[::-1], Image.Resampling.BILINEAR, reducing_gap=None)
    return np.asarray(rgb).astype(np.int32)


def good_images(height: int, width: int, seed: int = 0) -> dict[str, bytes]:
    """One file of each kind that the layer must read, with variations of one picture."""
    pixels = picture(height, width, seed)
    rgb = Image.fromarray(pixels)
    alpha = Image.fromarray(
        np.linspace(0, 255, height * width).astype(np.uint8).reshape(height, -1)
    )
    rgba, gray, palette = rgb.copy(), rgb.convert("L"), rgb.quantize(64, Image.Quantize.FASTOCTREE)
    rgba.putalpha(alpha)
    turned = palette.transpose(Image.Transpose.ROTATE_180)
    fast = {"compress_level": 1}
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return {
        "png rgb": encode(rgb, "PNG", **fast),
        "png rgba": encode(rgba, "PNG", **fast),
        "png gray": encode(gray, "PNG", **fast),
        "png gray alpha": encode(Image.merge("LA", [gray, alpha]), "PNG", **fast),
        "png palette": encode(palette, "PNG", **fast),
        "png palette transparent": encode(palette, "PNG", transparency=3, **fast),
        "png bilevel": encode(gray.convert("1"), "PNG", **fast),
        "png 16-bit gray": png(pixels[..., :1].astype(">u2") * 257 - 128, 0),
        "png 16-bit rgb": png(pixels.astype(">u2") * 256 + 77, 2),
        "jpeg baseline": encode(rgb, "JPEG", quality=90),
        "jpeg 4:4:4": encode(rgb, "JPEG", quality=95, subsampling=0),
        "jpeg progressive": encode(rgb, "JPEG", quality=85, progressive=True),
        "jpeg gray": encode(gray, "JPEG", quality=90),
        "jpeg cmyk": encode(rgb.convert("CMYK"), "JPEG", quality=90),
        "bmp rgb": encode(rgb, "BMP"),
        "bmp rgba": encode(rgba, "BMP"),
        "bmp gray": encode(gray, "BMP"),
        "bmp palette": encode(palette, "BMP"),
        "bmp bilevel": encode(gray.convert("1"), "BMP"),
        "bmp top-down": bmp(pixels, top_down=True),
        "gif static": encode(palette, "GIF"),
        "gif transparent": encode(palette, "GIF", transparency=3),
        "gif animated": encode(palette, "GIF", save_all=True, append_images=[turned], duration=50),
        "gif part of screen": gif(palette, (height + 20, width + 30), (3, 4)),
        "webp lossy": encode(rgb, "WEBP", quality=80, method=0),
        "webp lossless": encode(rgb, "WEBP", lossless=True, quality=0, method=0),
        "webp alpha": encode(rgba, "WEBP", quality=80, method=0, exact=True),
        "webp animated": encode(
            rgb, "WEBP", lossless=True, quality=0, method=0, save_all=True, append_images=[turned]
        ),
        "jpeg without end marker": encode(rgb, "JPEG", quality=90)[:-2],
        "jpeg progressive without end marker": encode(rgb, "JPEG", progressive=True)[:-2],
        "bmp 5-5-5": bmp_16(pixels, six_bits=False),
        "bmp 5-6-5": bmp_16(pixels, six_bits=True),
        "bmp and further bytes": encode(rgb, "BMP") + b"further",
        "png turned": encode(rgb, "PNG", exif=exif, **fast),
        "jpeg turned": encode(rgb, "JPEG", quality=90, exif=exif),
        "webp turned": encode(rgb, "WEBP", quality=80, method=0, exif=exif),
    }


def bad_images() -> dict[str, bytes]:
    """One file of each kind of bad input; each must be invalid and not affect others."""
    rgb = Image.fromarray(picture(40, 50))
    files = {file_format: encode(rgb, file_format) for file_format in ("PNG", "GIF", "BMP", "WEBP")}
    jpeg, progressive = encode(rgb, "JPEG"), encode(rgb, "JPEG", progressive=True)
    lossless = encode(rgb, "WEBP", lossless=True)
    scan, data = jpeg.index(b"\xff\xda"), files["PNG"].index(b"IDAT")
    return {
        **_other_files(rgb),
        **_huge_images(files, jpeg, lossless),
        **_sizeless_images(files, jpeg),
        "jpeg cut before scan": jpeg[: scan - 5],
        "jpeg cut after scan header": jpeg[: scan + 14],
        "jpeg cut in scan": jpeg[: (scan + len(jpeg)) // 2],
        "jpeg progressive cut": progressive[: len(progressive) // 2],
        "jpeg signature": jpeg[:3],
        "png cut": files["PNG"][: len(files["PNG"]) // 2],
        "png without end": files["PNG"][:-12],
        "png signature": files["PNG"][:8],
        "png flipped header checksum": flip(files["PNG"], 30),
        "png flipped data checksum": flip(files["PNG"], -14),
        "png flipped data": flip(files["PNG"], data + 200),
        "gif cut": files["GIF"][: len(files["GIF"]) // 2],
        "gif without frame": files["GIF"][: frame_position(files["GIF"])] + b";",
        "gif defective codes": _defective_gif(),
        "bmp cut": files["BMP"][: len(files["BMP"]) // 2],
        "bmp run lengths": patch(encode(rgb.convert("L"), "BMP"), 30, struct.pack("<I", 1)),
        "webp cut": files["WEBP"][: len(files["WEBP"]) // 2],
    }


def _other_files(rgb: Image.Image) -> dict[str, bytes]:
    return {
        "empty": b"",
        "one byte": b"\xff",
        "text": b"no image at all\n" * 20,
        "tiff": encode(rgb, "TIFF"),
        "dicom": b"\x00" * 128
        + b"DICM"
        + struct.pack("<HH2sHI", 2, 0, b"UL", 4, 200)
        + b"\x00" * 200,
        "pdf": b"%PDF-1.7\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF\n",
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect/></svg>',
        "jpeg xl": b"\xff\x0a" + bytes(range(60)),
        "jpeg xl container": b"\x00\x00\x00\x0cJXL \r\n\x87\n" + bytes(60),
        "avif": b"\x00\x00\x00\x1cftypavif" + bytes(60),
        "zip": b"PK\x03\x04" + bytes(60),
    }


def _huge_images(files: dict[str, bytes], jpeg: bytes, lossless: bytes) -> dict[str, bytes]:
    frame = frame_position(files["GIF"])
    vp8x = b"RIFF\x1e\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00" + b"\xff" * 6
    return {
        "png huge": png_file(50_000, 50_000, 8, 2, zlib.compress(bytes(1000))),
        "png one huge row": png_file(1, 60_000_000, 8, 0, zlib.compress(bytes(1000))),
        "png unsigned overflow": png_file(2**31 - 1, 2**31 - 1, 8, 2, b""),
        "png huge text chunk": files["PNG"][:33] + struct.pack(">I", 2**31 - 1) + b"tEXt",
        "jpeg huge": patch(jpeg, jpeg.index(b"\xff\xc0") + 5, struct.pack(">HH", 65_500, 65_500)),
        "gif huge": patch(files["GIF"], 6, struct.pack("<HH", 65_535, 65_535)),
        "gif huge frame": patch(files["GIF"], frame + 5, struct.pack("<HH", 65_535, 65_535)),
        "gif far frame": patch(files["GIF"], frame + 1, struct.pack("<HH", 65_000, 65_000)),
        "bmp huge": patch(files["BMP"], 18, struct.pack("<ii", 50_000, 50_000)),
        "bmp huge top-down": patch(files["BMP"], 18, struct.pack("<ii", 50_000, -(2**31))),
        "bmp negative width": patch(files["BMP"], 18, struct.pack("<ii", -50, 40)),
        "webp huge lossy": patch(files["WEBP"], 26, b"\xff\x3f\xff\x3f"),
        "webp huge lossless": patch(lossless, 21, b"\xff\xff\xff\x0f"),
        "webp huge canvas": vp8x + files["WEBP"][12:],
    }


def _sizeless_images(files: dict[str, bytes], jpeg: bytes) -> dict[str, bytes]:
    return {
        "png zero": png_file(0, 0, 8, 2, zlib.compress(b"")),
        "png zero height": png_file(0, 10, 8, 2, zlib.compress(b"")),
        "jpeg zero": patch(jpeg, jpeg.index(b"\xff\xc0") + 5, bytes(4)),
        "gif zero": patch(files["GIF"], 6, bytes(4)),
        "gif zero frame": patch(files["GIF"], frame_position(files["GIF"]) + 5, bytes(4)),
        "bmp zero": patch(files["BMP"], 18, bytes(8)),
        "webp zero": patch(files["WEBP"], 26, bytes(4)),
    }


def flip(data: bytes, position: int) -> bytes:
    """One byte inverted."""
    changed = bytearray(data)
    changed[position] ^= 0xFF
    return bytes(changed)


def patch(data: bytes, position: int, replacement: bytes) -> bytes:
    return data[:position] + replacement + data[position + len(replacement) :]


def png(pixels: np.ndarray, color_type: int) -> bytes:
    """A PNG of big-endian 16-bit samples [height, width, channels], which Pillow can't write."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in pixels)
    return png_file(height, width, 16, color_type, zlib.compress(rows, 1))


def png_file(height: int, width: int, depth: int, color_type: int, data: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*parts) for parts in chunks)


def png_chunk(name: bytes, content: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + checksum


def bmp(pixels: np.ndarray, top_down: bool) -> bytes:
    """A 24-bit BMP with its rows in either order."""
    height, width, _ = pixels.shape
    padding = bytes(-width * 3 % 4)
    rows = [row[:, ::-1].tobytes() + padding for row in pixels]
    body = b"".join(rows if top_down else rows[::-1])
    signed_height = -height if top_down else height
    info = struct.pack("<IiiHHIIiiII", 40, width, signed_height, 1, 24, 0, len(body), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(body), 0, 0, 54) + info + body


def bmp_16(pixels: np.ndarray, six_bits: bool) -> bytes:
    """A BMP of five bits for each colour, or six for green, which the masks in the header say."""
    height, width, _ = pixels.shape
    shifts = (3, 2, 3) if six_bits else (3, 3, 3)
    red, green, blue = (pixels[..., k].astype("<u2") >> shifts[k] for k in range(3))
    values = (red << (11 if six_bits else 10)) | (green << 5) | blue
    rows = np.pad(values, [(0, 0), (0, width % 2)])[::-1].tobytes()
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F) if six_bits else b""
    compression, start = (3, 66) if six_bits else (0, 54)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 16, compression, len(rows), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + info + masks + rows


def gif(palette: Image.Image, screen: tuple[int, int], corner: tuple[int, int]) -> bytes:
    """A GIF with its first frame at (top, left) of a larger screen (height, width)."""
    whole = encode(palette, "GIF", transparency=5)
    frame = frame_position(whole)
    placed = patch(whole, frame + 1, struct.pack("<HH", *corner[::-1]))
    return patch(placed, 6, struct.pack("<HH", *screen[::-1]))


def frame_position(gif_bytes: bytes) -> int:
    """Position of the first frame's descriptor in a GIF by Pillow, with at most one extension."""
    table_end = 13 + 3 * 2 ** (gif_bytes[10] % 8 + 1)
    return gif_bytes.index(b",", table_end + (8 if gif_bytes[table_end] == ord("!") else 0))


def _defective_gif() -> bytes:
    # Code 7 right after the clear code (4), where only 0 to 3 are defined.
    head = b"GIF89a" + struct.pack("<HHBBB", 100, 100, 0x81, 0, 0) + bytes(range(12))
    return head + b"," + struct.pack("<HHHHB", 0, 0, 100, 100, 0) + b"\x02\x02\xfc\xff\x00;"


def mutations(files: list[bytes], count: int, seed: int) -> list[bytes]:
    """Damaged copies: bytes changed, mostly near the start, cut, removed, repeated or mixed."""
    generator = np.random.default_rng(seed)

    def position(data: bytes) -> int:
        reach = len(data) if generator.random() < 0.5 else min(len(data), 64)
        return int(generator.integers(reach))

    def change(data: bytes) -> bytes:
        for _ in range(generator.integers(1, 6)):
            data = patch(data, position(data), bytes([generator.integers(256)]))
        return data

    def extreme(data: bytes) -> bytes:
        value = (b"\x00", b"\xff", b"\x7f", b"\x80")[generator.integers(4)]
        return patch(data, position(data), value * int(generator.integers(1, 5)))

    def cut(data: bytes) -> bytes:
        return data[: position(data)]

    def remove(data: bytes) -> bytes:
        start = position(data)
        return data[:start] + data[start + int(generator.integers(1, 9)) :]

    def repeat(data: bytes) -> bytes:
        start = position(data)
        return data[:start] + data[max(0, start - int(generator.integers(1, 99))) :]

    def mix(data: bytes) -> bytes:
        other = files[generator.integers(len(files))]
        return data[: position(data)] + other[position(other) :]

    kinds: list[Callable[[bytes], bytes]] = [change, change, extreme, cut, remove, repeat, mix]
    damaged = []
    for _ in range(count):
        data = files[generator.integers(len(files))]
        for _ in range(generator.integers(1, 4)):
            data = kinds[generator.integers(len(kinds))](data) if data else data
        damaged.append(data)
    return damaged
