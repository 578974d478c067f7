"""Parameters of the phantom's slices: anatomies, display windows and lesions.

Positions and radii are fractions of the image's height and width, so that the same slice can be
drawn at any size.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np

Pair = tuple[float, float]  # y, x
Coordinates = np.ndarray | np.floating


class Lesion(NamedTuple):
    """A ground-glass patch."""

    y: float
    x: float
    radius_y: float
    radius_x: float
    opacity: float


class Display(NamedTuple):
    """Display window, `gain * value + offset`, and standard deviation of the noise."""

    gain: float
    offset: float
    noise: float


@dataclasses.dataclass(frozen=True)
class Patient:
    """Anatomy and display window of a patient, common to all slices."""

    display: Display
    centre: Pair
    body: Pair
    wall: Pair
    column: float
    heart: Pair
    spine: Pair
    fat: float
    rib_phase: float
    table: float


@dataclasses.dataclass(frozen=True)
class Slice:
    """All parameters of an image.

    Attributes:
        level: position along the body, 0 (aortic arch) to 1 (dome of the liver).
        shift: movement of the patient between slices.
        size: height and width in pixels.
        seed: seed of vessels, texture and noise.
        lesions: empty in a negative slice.
    """

    patient: Patient
    level: float
    shift: Pair
    size: tuple[int, int]
    seed: tuple[int, ...]
    lesions: tuple[Lesion, ...] = ()

    @property
    def centre(self) -> Pair:
        """Centre (y, x) of the body."""
        y, x = self.patient.centre
        return y + self.shift[0], x + self.shift[1]

    @property
    def cavity(self) -> Pair:
        """Radii (y, x) of the space inside the ribs."""
        patient, widening = self.patient, 0.9 + 0.1 * self.level
        return patient.body[0] - patient.wall[0], (patient.body[1] - patient.wall[1]) * widening

    @property
    def spine_centre(self) -> Pair:
        """Centre (y, x) of the vertebra."""
        y, x = self.centre
        return y + self.patient.body[0] * 0.56, x


def sample_display(rng: np.random.Generator) -> Display:
    """Draws a window; its range exceeds the effect of lesions on the mean intensity."""
    return Display(rng.uniform(0.82, 1.1), rng.uniform(-0.03, 0.09), rng.uniform(0.02, 0.045))


def sample_patient(rng: np.random.Generator, display: Display) -> Patient:
    """Draws an anatomy."""
    body = rng.uniform(0.42, 0.455), rng.uniform(0.455, 0.49)
    return Patient(
        display,
        centre=(rng.uniform(0.465, 0.485), rng.uniform(0.49, 0.51)),
        body=body,
        wall=(rng.uniform(0.075, 0.1), rng.uniform(0.07, 0.1)),
        column=rng.uniform(0.05, 0.075),
        heart=(rng.uniform(0.13, 0.17), rng.uniform(0.1, 0.14)),
        spine=(rng.uniform(0.085, 0.1), rng.uniform(0.06, 0.07)),
        fat=rng.uniform(0.02, 0.045),
        rib_phase=rng.uniform(0, 2 * math.pi),
        table=rng.uniform(0.94, 0.97),
    )


def sample_slice(
    patient: Patient, diseased: bool, size: tuple[int, int], seed: tuple[int, ...]
) -> Slice:
    """Draws a slice of `patient`; `size` is (height, width) in pixels.

    In a diseased slice, the centres of lesions are uniform over the area of the lungs.
    """
    rng = np.random.default_rng(seed)
    shift = rng.uniform(-0.01, 0.01), rng.uniform(-0.01, 0.01)
    healthy = Slice(patient, rng.uniform(), shift, size, seed)
    if not diseased:
        return healthy
    count = rng.integers(3, 6)
    lesions: list[Lesion] = []
    while len(lesions) < count:
        y, x = rng.uniform(size=2)
        if lung_depth(healthy, np.float32(y), np.float32(x)) > 0:
            radii = rng.uniform(0.06, 0.12), rng.uniform(0.05, 0.1)
            lesions.append(Lesion(y, x, *radii, rng.uniform(0.55, 0.95)))
    return dataclasses.replace(healthy, lesions=tuple(lesions))


def ellipse_depth(
    y: Coordinates, x: Coordinates, centre: Pair, radii: Pair, power: float = 2.0
) -> np.ndarray:
    """Depth inside a superellipse: positive inside, 0 on its edge, negative outside.

    `y` and `x` are float arrays that broadcast together.
    """
    v, u = np.abs((y - centre[0]) / radii[0]), np.abs((x - centre[1]) / radii[1])
    if power == 2.0:
        return (1 - np.sqrt(v * v + u * u)) * min(radii)
    return (1 - (v**power + u**power) ** (1 / power)) * min(radii)


def lung_depth(chest: Slice, y: Coordinates, x: Coordinates) -> np.ndarray:
    """Depth below the surface of the lungs; positive inside. Arguments as `ellipse_depth`."""
    patient, level = chest.patient, chest.level
    centre_y, centre_x = chest.centre
    spine_y, spine_x = chest.spine_centre
    heart_scale = 0.55 + 0.6 * level
    heart_radii = patient.heart[0] * heart_scale + 0.03, patient.heart[1] * heart_scale + 0.02
    spine_radii = patient.spine[0] * 1.9, patient.spine[1] * 1.35
    waist = patient.column * (1 + 0.35 * np.cos((y - centre_y) * 14)) - np.abs(x - centre_x)
    heart = ellipse_depth(y, x, (centre_y - 0.06, centre_x + 0.1 * level), heart_radii)
    spine = ellipse_depth(y, x, (spine_y + 0.05, spine_x), spine_radii)
    mediastinum = np.maximum(np.maximum(waist, heart), spine)
    # The dome of the liver is under the patient's right lung, on the left of the image.
    dome = max(level - 0.6, 0.0) * 0.3
    if dome:
        liver = ellipse_depth(y, x, (centre_y - 0.02, centre_x - 0.17), (dome * 1.4, dome))
        mediastinum = np.maximum(mediastinum, liver)
    cavity = ellipse_depth(y, x, chest.centre, chest.cavity, power=2.4)
    return np.minimum(cavity, -mediastinum)
