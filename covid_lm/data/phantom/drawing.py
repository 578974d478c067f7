"""Drawing of the phantom's slices: chest wall, ribs, spine, heart, lungs, vessels and lesions.

Intensities are from 0 (air) to 1 (cortical bone) before the display window.
"""

import math

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from covid_lm.data.phantom.anatomy import Pair, Slice, ellipse_depth, lung_depth

AIR, LUNG, FAT, MUSCLE, BLOOD, LESION, SPONGE, BONE = 0.03, 0.17, 0.45, 0.6, 0.66, 0.52, 0.76, 0.93


def _branch(draw, size, start, angle, length, width, rng):
    """Draws a vessel and, recursively, its thinner branches."""
    height, pixels_wide = size
    end = start[0] + math.sin(angle) * length, start[1] + math.cos(angle) * length
    line = (start[1] * pixels_wide, start[0] * height, end[1] * pixels_wide, end[0] * height)
    draw.line(line, fill=int(min(255, 70 + 60 * width)), width=max(1, round(width)))
    if length < 0.034:
        return
    for side in (-1, 1):
        turn = side * rng.uniform(0.15, 0.75)
        _branch(draw, size, end, angle + turn, length * rng.uniform(0.62, 0.86), width * 0.7, rng)


def _vessels(chest: Slice, rng: np.random.Generator) -> np.ndarray:
    """Draws vessel trees, not yet cut to the lungs: float32 [height, width], 0 to 1."""
    height, width = chest.size
    image = Image.new("L", (width, height))
    draw = ImageDraw.Draw(image)
    centre_y, centre_x = chest.centre
    for side in (-1, 1):
        for spread in (-1.1, -0.4, 0.4, 1.1):
            start = centre_y + 0.02 + 0.03 * spread, centre_x + side * 0.1
            angle = spread + rng.uniform(-0.25, 0.25)
            angle = angle if side > 0 else math.pi - angle
            _branch(draw, chest.size, start, angle, 0.11, height / 70, rng)
    for y, x in rng.uniform(size=(60, 2)) * chest.size:
        radius = rng.uniform(0.3, 0.9) * height / 160
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=150)
    return np.asarray(image, np.float32) / 255


def _cloud(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draws a smooth texture: float32 [height, width], standard deviation about 0.7."""
    coarse = Image.fromarray(rng.standard_normal((18, 22), np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def _tint(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draws a deviation from gray, in levels of 255: float32 [height, width, 3]."""
    # Coarse, because JPEG removes the colour of fine noise.
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    smooth = coarse.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(smooth, np.float32) / 24 - 5.3


class _Canvas:
    """An image on which layers of tissue with soft edges are drawn."""

    def __init__(self, chest: Slice):
        height, width = chest.size
        self.y = ((np.arange(height, dtype=np.float32) + 0.5) / height)[:, None]
        self.x = ((np.arange(width, dtype=np.float32) + 0.5) / width)[None, :]
        self.edge = np.float32(1.5 / height)
        self.picture = np.full(chest.size, AIR, np.float32)

    def cover(self, depth: np.ndarray) -> np.ndarray:
        return np.clip(0.5 + depth / self.edge, 0, 1)

    def lay(self, intensity: float | np.ndarray, cover: np.ndarray) -> None:
        self.picture += (intensity - self.picture) * cover

    def ellipse(self, intensity: float, centre: Pair, radii: Pair, power: float = 2.0) -> None:
        rows, columns = (
            slice(max(int((middle - radius) * n) - 2, 0), int((middle + radius) * n) + 3)
            for middle, radius, n in zip(centre, radii, self.picture.shape, strict=True)
        )
        cover = self.cover(ellipse_depth(self.y[rows], self.x[:, columns], centre, radii, power))
        part = self.picture[rows, columns]
        part += (intensity - part) * cover


def _lay_chest_wall(canvas: _Canvas, chest: Slice) -> None:
    patient, (centre_y, centre_x) = chest.patient, chest.centre
    sag = canvas.y - patient.table + 0.12 * (canvas.x - 0.5) ** 2
    canvas.lay(0.4, canvas.cover(0.007 - np.abs(sag)))
    inner = patient.body[0] - patient.fat, patient.body[1] - patient.fat
    canvas.ellipse(FAT, (centre_y, centre_x), patient.body, 2.3)
    canvas.ellipse(MUSCLE, (centre_y, centre_x), inner, 2.3)
    cavity = chest.cavity
    v, u = (canvas.y - centre_y) / cavity[0], (canvas.x - centre_x) / cavity[1]
    radius, angle = (np.abs(v) ** 2.4 + np.abs(u) ** 2.4) ** (1 / 2.4), np.arctan2(v, u)
    # Ribs are slanted, so a slice shows them as arcs with gaps along the wall.
    along = np.cos(9 * angle + patient.rib_phase + 4 * chest.level)
    rib = 0.024 * np.sqrt(np.maximum(along, 0)) - np.abs(radius - 1.09) * 0.45 - 0.006
    canvas.lay(BONE, canvas.cover(rib))
    canvas.lay(SPONGE, canvas.cover(rib - 0.009))
    sternum = centre_y - (cavity[0] + patient.body[0] - patient.fat) / 2, centre_x
    canvas.ellipse(BONE, sternum, (0.022, 0.075))
    canvas.ellipse(SPONGE, sternum, (0.011, 0.062))


def _lay_midline(canvas: _Canvas, chest: Slice) -> None:
    (centre_y, centre_x), (spine_y, spine_x) = chest.centre, chest.spine_centre
    radii = chest.patient.spine
    canvas.ellipse(BONE, (spine_y + radii[0] * 1.6, spine_x), (0.045, 0.011))
    canvas.ellipse(BONE, (spine_y + radii[0] * 1.2, spine_x), (0.032, radii[1] * 1.4))
    canvas.ellipse(BONE, (spine_y, spine_x), radii)
    canvas.ellipse(SPONGE, (spine_y, spine_x), (radii[0] * 0.84, radii[1] * 0.84))
    canvas.ellipse(MUSCLE, (spine_y + radii[0] * 1.1, spine_x), (0.026, 0.021))
    canvas.ellipse(BLOOD + 0.06, (spine_y - radii[0] * 0.95, spine_x + 0.055), (0.036, 0.028))
    if chest.level < 0.45:
        canvas.ellipse(AIR, (centre_y + 0.05, centre_x - 0.005), (0.028, 0.02))
    else:
        for side in (-1, 1):
            canvas.ellipse(AIR, (centre_y + 0.075, centre_x + side * 0.048), (0.019, 0.014))


def _lesion_cover(canvas: _Canvas, chest: Slice, cloud: np.ndarray) -> np.ndarray:
    clear = np.ones_like(canvas.picture)
    for lesion in chest.lesions:
        v = (canvas.y - lesion.y) / lesion.radius_y
        u = (canvas.x - lesion.x) / lesion.radius_x
        haze = np.clip(1.25 - v * v - u * u + 0.3 * cloud, 0, 1)
        clear *= 1 - lesion.opacity * haze
    return 1 - clear


def draw_slice(chest: Slice) -> np.ndarray:
    """Draws an image: uint8 [height, width, 3], gray with a faint random tint."""
    rng = np.random.default_rng((*chest.seed, 1))
    canvas = _Canvas(chest)
    cloud = _cloud(rng, *chest.size)
    _lay_chest_wall(canvas, chest)
    lungs = canvas.cover(lung_depth(chest, canvas.y, canvas.x))
    cavity = ellipse_depth(canvas.y, canvas.x, chest.centre, chest.cavity, 2.4)
    canvas.lay(BLOOD, canvas.cover(cavity))
    # In a supine patient, healthy lungs, too, are denser towards the back.
    aerated = LUNG + 0.1 * (canvas.y - 0.5) + 0.015 * cloud
    aerated = aerated + (LESION - aerated) * _lesion_cover(canvas, chest, cloud)
    vessels = _vessels(chest, rng)
    canvas.lay(aerated + (BLOOD - aerated) * vessels, lungs)
    _lay_midline(canvas, chest)
    picture = ndimage.gaussian_filter(canvas.picture, chest.size[0] / 260, truncate=2.5)
    display = chest.patient.display
    picture = picture * display.gain + display.offset
    grain = ndimage.gaussian_filter(rng.standard_normal(chest.size, np.float32), 0.6, truncate=2)
    # Smoothing of this width halves the noise's standard deviation.
    picture += grain * (2 * display.noise)
    colour = picture[..., None] * 255 + _tint(rng, *chest.size)
    return np.clip(np.rint(colour), 0, 255).astype(np.uint8)
