"""Windows, the range of values that becomes black to white, and limits of what is converted.

Imports neither numpy nor Pillow: they are needed only if there is something to convert.
"""

import math
from typing import NamedTuple

from covid_lm.errors import InputError

MAX_PIXELS, MAX_SIDE = 64_000_000, 65_535


class NotConverted(ValueError):
    """The reason, in one line, why an image can't be converted to 8 bits."""


def check_size(width: int, height: int) -> None:
    """Raises NotConverted for no pixels, or more than a model decodes."""
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise NotConverted(f"too many pixels: {width} x {height}")
    if width * height == 0:
        raise NotConverted("no pixels")


class Window(NamedTuple):
    """The values around `center`, `width` of them; for CT in Hounsfield units."""

    center: float
    width: float


# Windows of chest CT, in Hounsfield units.
NAMED_WINDOWS = {
    "lung": Window(-600, 1500),
    "mediastinum": Window(50, 350),
    "bone": Window(400, 1800),
}
WINDOW_HELP = (
    "Window of DICOM and 16-bit gray images: CENTER,WIDTH (Hounsfield units for CT), or "
    f"{', '.join(NAMED_WINDOWS)}; default: "
)


def parse_window(text: str | None) -> Window | None:
    """The window of the flag's value, a name or "CENTER,WIDTH"; None for None.

    Raises:
        InputError: neither of these, or a width below 1.
    """
    if text is None:
        return None
    if text.strip().lower() in NAMED_WINDOWS:
        return NAMED_WINDOWS[text.strip().lower()]
    flag = f"--window={text}"
    try:
        center, width = map(float, text.split(","))
    except ValueError:
        names = ", ".join(NAMED_WINDOWS)
        raise InputError(f"{flag}: give CENTER,WIDTH, as 40,400, or one of {names}") from None
    if not (math.isfinite(center) and math.isfinite(width)):
        raise InputError(f"{flag}: CENTER and WIDTH must be finite numbers")
    if width < 1:
        raise InputError(f"{flag}: WIDTH must be at least 1")
    return Window(center, width)
