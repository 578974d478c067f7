"""Small and gray versions of image files, read with Pillow."""

import numpy as np
from PIL import Image


def gray_levels(image: Image.Image) -> np.ndarray:
    """Luminance of a loaded image, uint8 [height, width]; alpha is dropped.

    Samples of more than 8 bits are scaled by the picture's own maximum.
    """
    if image.mode.startswith(("I", "F")):
        levels = np.nan_to_num(np.asarray(image, np.float32))
        top = max(float(levels.max(initial=0)), 255.0)
        return np.clip(levels * (255 / top), 0, 255).astype(np.uint8)
    return np.asarray(image.convert("L"))


def gray_thumbnail(gray: np.ndarray, side: int) -> np.ndarray:
    """Scales gray levels to a square, with antialiasing, so that images can be compared.

    Args:
        gray: uint8 [height, width], of any aspect ratio.
        side: of the result, in pixels.

    Returns:
        uint8 [side, side].
    """
    small = Image.fromarray(gray).resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(small)
