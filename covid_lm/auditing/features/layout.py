"""Features of an image's layout: burned-in marks, padding and crop, and the outer regions."""

import numpy as np
from scipy import ndimage

MARK_SIDE = 256
MARK_CONTRAST = 80  # levels above the surroundings
MARK_LEVEL = 200
HALO = 2  # pixels around a mark that belong to it
MAX_STROKE = 9  # pixels; thicker bright areas are no text
MIN_MARK, MAX_MARK = 6, 0.02  # pixels; share of the image
ZONE = 0.15  # of the shorter side, along each border
PADDING_SPREAD = 6  # levels within a line; JPEG's noise
BACKGROUND = 32  # level
GRID = 8


def mark_features(gray: np.ndarray) -> dict[str, float]:
    """Number, size and position of burned-in letters and marks near the border.

    Marks are connected pixels of thin structures (a white top-hat of 9 pixels) that are nearly
    white, in the outer 15%: a body's parts are thicker.

    Args:
        gray: uint8 [height, width]; reduced to at most 256 pixels of the shorter side.
    """
    components, kept, areas = _marks(_maxima(gray, _factor(gray)))
    height, width = components.shape
    centres = np.array(ndimage.center_of_mass(components > 0, components, kept)).reshape(-1, 2)
    top, left = centres[:, 0] < height / 2, centres[:, 1] < width / 2
    return {
        "marks near the border": float(len(kept)),
        "area of the marks in permille": float(1000 * areas.sum() / components.size),
        "marks at the top left": float(np.sum(top & left)),
        "marks at the top right": float(np.sum(top & ~left)),
        "marks at the bottom left": float(np.sum(~top & left)),
        "marks at the bottom right": float(np.sum(~top & ~left)),
    }


def without_marks(pixels: np.ndarray, gray: np.ndarray) -> np.ndarray:
    """The image with the marks of `mark_features` filled with their surroundings.

    Args:
        pixels: uint8 [height, width, channels].
        gray: its gray levels, uint8 [height, width].

    Returns:
        A copy; without marks, all pixels are those of the image.
    """
    factor = _factor(gray)
    reduced = _maxima(gray, factor)
    zone, kept, _ = _marks(reduced)
    filled = pixels.copy()
    if not len(kept):
        return filled
    # Marks that begin near the border, with their parts outside of the zone.
    hat = ndimage.white_tophat(reduced, size=(MAX_STROKE, MAX_STROKE))
    thin = (reduced >= MARK_LEVEL) & (hat >= MARK_CONTRAST)
    components, _ = ndimage.label(thin, np.ones((3, 3)))
    kept = np.unique(components[np.isin(zone, kept)])
    for number, (rows, columns) in enumerate(ndimage.find_objects(components), 1):
        if number not in kept:
            continue
        # The mark with its blurred outline, and enough around it to find its surroundings.
        margin = MAX_STROKE + 2 * HALO
        box = tuple(
            slice(max(part.start - margin, 0) * factor, (part.stop + margin) * factor)
            for part in (rows, columns)
        )
        inside = components[tuple(slice(p.start // factor, p.stop // factor) for p in box)]
        mask = np.kron(ndimage.binary_dilation(inside == number, iterations=HALO), _ones(factor))
        part = filled[box][: len(mask), : mask.shape[1]]
        size = ((MAX_STROKE + 2 * HALO) * factor, (MAX_STROKE + 2 * HALO) * factor, 1)
        part[mask > 0] = ndimage.grey_opening(part, size)[mask > 0]
    return filled


def _ones(factor: int) -> np.ndarray:
    return np.ones((factor, factor), np.uint8)


def _factor(gray: np.ndarray) -> int:
    """Number of pixels, across and down, that the search for marks reduces to one."""
    return -(-min(gray.shape) // MARK_SIDE)


def _marks(reduced: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Components of bright thin pixels, int [height, width], and numbers and areas of the marks."""
    height, width = reduced.shape
    depth = min(max(1, round(ZONE * min(height, width))), height, width)
    inside = depth + MAX_STROKE // 2  # the top-hat's surroundings
    bright = np.zeros(reduced.shape, bool)
    for turns in range(4):  # the four strips, each as the upper one
        turned, target = np.rot90(reduced, turns), np.rot90(bright, turns)
        light = turned[:depth] >= MARK_LEVEL
        if light.any():  # most borders are dark
            hat = ndimage.white_tophat(turned[:inside], size=(MAX_STROKE, MAX_STROKE))[:depth]
            target[:depth] |= light & (hat >= MARK_CONTRAST)
    components, count = ndimage.label(bright, np.ones((3, 3)))
    areas = np.bincount(components.ravel(), minlength=count + 1)[1:]
    is_mark = (areas >= MIN_MARK) & (areas <= MAX_MARK * bright.size)
    return components, np.flatnonzero(is_mark) + 1, areas[is_mark]


def _maxima(gray: np.ndarray, factor: int) -> np.ndarray:
    """Maxima of blocks of factor x factor pixels: thin bright lines are kept."""
    if factor == 1:
        return gray
    height, width = (side // factor for side in gray.shape)
    blocks = gray[: height * factor, : width * factor].reshape(height, factor, width, factor)
    return blocks.max(axis=(1, 3))


def padding_features(gray: np.ndarray) -> dict[str, float]:
    """Uniform bars along the four sides, and how much of the content touches the border.

    Args:
        gray: uint8 [height, width].
    """
    height, width = gray.shape
    rows = gray.max(axis=1).astype(int) - gray.min(axis=1) <= PADDING_SPREAD
    columns = gray.max(axis=0).astype(int) - gray.min(axis=0) <= PADDING_SPREAD
    bars = {
        "top": _leading(rows) / height,
        "bottom": _leading(rows[::-1]) / height,
        "left": _leading(columns) / width,
        "right": _leading(columns[::-1]) / width,
    }
    content_height = height * max(1 - bars["top"] - bars["bottom"], 1 / height)
    content_width = width * max(1 - bars["left"] - bars["right"], 1 / width)
    edge = np.concatenate([gray[0], gray[-1], gray[:, 0], gray[:, -1]])
    return {
        **{f"bar at the {side} as a share of the side": share for side, share in bars.items()},
        "aspect ratio without bars": content_width / content_height,
        "share of the outline with content": float((edge >= BACKGROUND).mean()),
    }


def _leading(flags: np.ndarray) -> int:
    """Number of true values before the first false one."""
    return len(flags) if flags.all() else int(np.argmin(flags))


def surrounding_features(thumbnail: np.ndarray) -> dict[str, float]:
    """Brightness of 12 regions around the centre, as if the lungs were blacked out.

    Args:
        thumbnail: uint8 [32, 32]; the outer eighth on each side is used.
    """
    step = len(thumbnail) // GRID
    blocks = thumbnail.reshape(GRID, step, GRID, step).mean(axis=(1, 3))
    half = GRID // 2
    corners = {
        f"{vertical} {horizontal} corner": blocks[row, column]
        for vertical, row in (("top", 0), ("bottom", -1))
        for horizontal, column in (("left", 0), ("right", -1))
    }
    sides = {}
    for name, line in (("top", blocks[0]), ("bottom", blocks[-1])):
        sides[f"left half of the {name}"] = line[1:half].mean()
        sides[f"right half of the {name}"] = line[half:-1].mean()
    for name, line in (("left", blocks[:, 0]), ("right", blocks[:, -1])):
        sides[f"upper half of the {name}"] = line[1:half].mean()
        sides[f"lower half of the {name}"] = line[half:-1].mean()
    return {f"brightness of the {name}": float(v) for name, v in {**corners, **sides}.items()}
