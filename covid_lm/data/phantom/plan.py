"""Decides, before anything is drawn, what each of the phantom's images will be.

Both classes get the same numbers of slices per patient, the same display windows and the same
containers (format, quality, mode, size) within each split, each in an order of its own: nothing
but the lesions depends on the label.
"""

import dataclasses
import itertools

import numpy as np

from covid_lm.data.phantom.anatomy import (
    Display,
    Slice,
    sample_display,
    sample_patient,
    sample_slice,
)
from covid_lm.data.records import SPLITS

CLASSES = ("negative", "positive")
WORD = "covid"  # which the leak "name_word" writes over a name's first characters
_NAMES, _SLICE_COUNTS, _DISPLAYS, _CONTAINERS, _ANATOMY, _SCENES = range(6)

_ENCODERS = (("PNG", 0), ("PNG", 0), ("PNG", 0), ("JPEG", 75), ("JPEG", 85), ("JPEG", 95))
_MODES = ("L", "RGB", "RGB")
_SIZES = (
    (128, 168),
    (144, 192),
    (160, 200),
    (168, 232),
    (184, 240),
    (200, 256),
    (216, 296),
    (240, 320),
)


@dataclasses.dataclass(frozen=True)
class Container:
    """How a picture is stored; `quality` is 0 for PNG, sizes in pixels."""

    format: str
    quality: int
    mode: str
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class PlannedImage:
    """One image to be.

    Attributes:
        stem: the file name without its extension.
        label, split, patient: as in `ImageRecord`.
        scene: what is drawn, at the size at which it is drawn.
        container: how it is stored; a picture drawn at another size is resized.
        edit: the planted leak that changes this image's pixels or bytes, None for no change.
    """

    stem: str
    label: int
    split: str
    patient: str
    scene: Slice
    container: Container
    edit: str | None = None

    @property
    def filename(self) -> str:
        """The file name with the extension of its format."""
        return self.stem + (".png" if self.container.format == "PNG" else ".jpg")


def _split_sizes(total: int) -> dict[str, int]:
    """About 60/15/25, with at least one image in each split."""
    val, test = max(1, round(0.15 * total)), max(1, round(0.25 * total))
    return dict(zip(SPLITS, (total - val - test, val, test), strict=True))


def _slice_counts(total: int, rng: np.random.Generator) -> list[int]:
    """Slices of each patient, 2 to 4 of them; the last patient gets what is left."""
    counts: list[int] = []
    while sum(counts) < total:
        counts.append(min(int(rng.integers(2, 5)), total - sum(counts)))
    return counts


def _containers(total: int, rng: np.random.Generator) -> list[Container]:
    design = list(itertools.product(_ENCODERS, _MODES, _SIZES))
    order = itertools.cycle(rng.permutation(len(design)))
    chosen = (design[int(i)] for i in itertools.islice(order, total))
    return [Container(*encoder, mode, *size) for encoder, mode, size in chosen]


def _displays(total: int, rng: np.random.Generator) -> list[Display]:
    return [sample_display(rng) for _ in range(total)]


def _stems(total: int, rng: np.random.Generator) -> list[str]:
    """Distinct random names of 12 hexadecimal digits."""
    stems: dict[str, str] = {}
    while len(stems) < total:
        stem = rng.bytes(6).hex()
        # Distinct in their tails, so that they stay distinct under the leak "name_word".
        stems[stem[len(WORD) :]] = stem
    return list(stems.values())


def _plan_split(
    label: int, split: str, total: int, stems: list[str], seed: int
) -> list[PlannedImage]:
    def shared(stream: int) -> np.random.Generator:
        return np.random.default_rng((seed, stream, SPLITS.index(split)))

    def own(stream: int) -> np.random.Generator:
        return np.random.default_rng((seed, stream, SPLITS.index(split), label))

    counts = _slice_counts(total, shared(_SLICE_COUNTS))
    containers = _containers(total, shared(_CONTAINERS))
    displays = _displays(len(counts), shared(_DISPLAYS))
    container_order = own(_CONTAINERS).permutation(total)
    display_order = own(_DISPLAYS).permutation(len(counts))
    anatomy = own(_ANATOMY)
    identifiers = own(_NAMES)
    images: list[PlannedImage] = []
    for count, display in zip(counts, display_order, strict=True):
        patient, identifier = sample_patient(anatomy), "p" + identifiers.bytes(5).hex()
        for _ in range(count):
            container = containers[container_order[len(images)]]
            scene = sample_slice(
                patient,
                displays[display],
                diseased=CLASSES[label] == "positive",
                size=(container.height, container.width),
                seed=(seed, _SCENES, SPLITS.index(split), label, len(images)),
            )
            stem = stems[len(images)]
            images.append(PlannedImage(stem, label, split, identifier, scene, container))
    return images


def plan_images(num_images: int, seed: int) -> list[PlannedImage]:
    """The leak-free plan, ordered by name; an odd image out is a negative one.

    Args:
        num_images: 16 or more.
        seed: 0 or more.
    """
    stems = iter(_stems(num_images, np.random.default_rng((seed, _NAMES))))
    images: list[PlannedImage] = []
    for label in range(len(CLASSES)):
        in_class = (num_images + 1 - label) // 2
        for split, total in _split_sizes(in_class).items():
            own_stems = list(itertools.islice(stems, total))
            images += _plan_split(label, split, total, own_stems, seed)
    return sorted(images, key=lambda image: image.stem)
