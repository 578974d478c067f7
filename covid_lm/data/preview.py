"""Small and gray versions of image files, read with Pillow."""

import io

import numpy as np
from PIL import Image


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
            deep = _is_deep(image)
            small = Image.fromarray(gray_levels(image)) if deep else image.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith(("I", "F"))
