"""Small and gray versions of image files, read with Pillow."""

import io

import numpy as np
from PIL import ExifTags, Image

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image) -> Image.Image:
    """A loaded image, turned as its EXIF orientation demands; damaged EXIF is ignored."""
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
    except Exception:  # Pillow raises errors of any type on damaged EXIF
        return image
    turn = _TURNS.get(exif.get(ExifTags.Base.Orientation, 1))
    return image if turn is None else image.transpose(turn)


def gray_levels(image: Image.Image) -> np.ndarray:
    """Luminance of a loaded image, uint8 [height, width]; alpha is dropped.

    Samples of more than 8 bits are scaled by the image's own maximum.
    """
    if _is_deep(image):
        levels = np.nan_to_num(np.asarray(image, np.float32))
        top = max(float(levels.max(initial=0)), 255.0)
        return np.clip(levels * (255 / top), 0, 255).astype(np.uint8)
    return np.asarray(image.convert("L"))


def gray_thumbnail(gray: np.ndarray, side: int) -> np.ndarray:
    """Scales gray levels, uint8 [height, width], to uint8 [side, side], with antialiasing."""
    return np.asarray(Image.fromarray(gray).resize((side, side), Image.Resampling.BILINEAR))


def thumbnail(encoded: bytes, side: int) -> bytes | None:
    """The image as a JPEG file of at most side x side pixels; None if Pillow can't read it."""
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            image.load()
            shown = upright(image)
            deep = _is_deep(shown)
            small = Image.fromarray(gray_levels(shown)) if deep else shown.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith(("I", "F"))
