"""Plan of the phantom's images, made before they are drawn.

Within each split, both classes have the same numbers of slices per patient, the same display
windows and the same containers (format, quality, mode, size), each in a separate random order.
Only the lesions depend on the label.
"""

import dataclasses
import itertools

import numpy as np

from covid_lm.data.phantom.anatomy import Slice, sample_display, sample_patient, sample_slice
from covid_lm.data.records import SPLITS

CLASSES = ("negative", "positive")
WORD = "covid"  # replaces the first characters of a name in the leak "name_word"
_NAMES, _SLICE_COUNTS, _DISPLAYS, _CONTAINERS, _ANATOMY, _SCENES = range(6)

_ENCODERS = (("PNG", 0), ("PNG", 0), ("PNG", 0), ("JPEG", 75), ("JPEG", 85), ("JPEG", 95))
_MODES = ("L", "RGB", "RGB")
_HEIGHTS = (128, 144, 160, 168, 184, 200, 216, 240)
_WIDTHS = (168, 192, 200, 232, 240, 256, 296, 320)


@dataclasses.dataclass(frozen=True)
class Container:
    """File format of an image; `quality` is 0 for PNG; sizes in pixels."""

    format: str
    quality: int
    mode: str
    height: int
    width: int


@dataclasses.dataclass(frozen=True)
class PlannedImage:
    """A planned image.

    Attributes:
        stem: file name without extension.
        label, split, patient: as in `ImageRecord`.
        scene: parameters of the drawing, including its size.
        container: file format; a drawing of another size is resized.
        edit: planted leak that changes pixels or bytes, or None.
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


def plan_images(num_images: int, seed: int) -> list[PlannedImage]:
    """Plans images without leaks, sorted by name; if the number is odd, one more is negative.

    Args:
        num_images: 16 or more.
        seed: 0 or more.
    """
    stems = iter(_stems(num_images, np.random.default_rng((seed, _NAMES))))
    images: list[PlannedImage] = []
    for label in range(len(CLASSES)):
        in_class = (num_images + 1 - label) // 2
        val, test = max(1, round(0.15 * in_class)), max(1, round(0.25 * in_class))
        for split, total in zip(SPLITS, (in_class - val - test, val, test), strict=True):
            images += _plan_split(label, split, list(itertools.islice(stems, total)), seed)
    return sorted(images, key=lambda image: image.stem)


def _stems(total: int, rng: np.random.Generator) -> list[str]:
    """Draws distinct names of 12 hexadecimal digits."""
    stems: dict[str, str] = {}
    while len(stems) < total:
        stem = rng.bytes(6).hex()
        # Also distinct without their first characters, for the leak "name_word".
        stems[stem[len(WORD) :]] = stem
    return list(stems.values())


def _plan_split(label: int, split: str, stems: list[str], seed: int) -> list[PlannedImage]:
    def shared(stream: int) -> np.random.Generator:
        return np.random.default_rng((seed, stream, SPLITS.index(split)))

    def own(stream: int) -> np.random.Generator:
        return np.random.default_rng((seed, stream, SPLITS.index(split), label))

    counts = _slice_counts(len(stems), shared(_SLICE_COUNTS))
    containers = _containers(len(stems), shared(_CONTAINERS))
    windows = shared(_DISPLAYS)
    displays = [sample_display(windows) for _ in counts]
    container_order = own(_CONTAINERS).permutation(len(stems))
    display_order = own(_DISPLAYS).permutation(len(counts))
    anatomy, identifiers = own(_ANATOMY), own(_NAMES)
    images: list[PlannedImage] = []
    for count, display in zip(counts, display_order, strict=True):
        patient = sample_patient(anatomy, displays[display])
        identifier = "p" + identifiers.bytes(5).hex()
        for _ in range(count):
            place = len(images)
            container = containers[container_order[place]]
            size = container.height, container.width
            scene_seed = seed, _SCENES, SPLITS.index(split), label, place
            scene = sample_slice(patient, CLASSES[label] == "positive", size, scene_seed)
            images.append(PlannedImage(stems[place], label, split, identifier, scene, container))
    return images


def _slice_counts(total: int, rng: np.random.Generator) -> list[int]:
    """Draws the number of slices of each patient, 2 to 4; the last one gets the rest."""
    counts: list[int] = []
    while sum(counts) < total:
        counts.append(min(int(rng.integers(2, 5)), total - sum(counts)))
    return counts


def _containers(total: int, rng: np.random.Generator) -> list[Container]:
    sizes = zip(_HEIGHTS, _WIDTHS, strict=True)
    design = [
        Container(*encoder, mode, *size)
        for encoder, mode, size in itertools.product(_ENCODERS, _MODES, sizes)
    ]
    return [design[i] for i in np.resize(rng.permutation(len(design)), total)]
