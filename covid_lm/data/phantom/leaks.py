"""Leaks that can be planted in the phantom, one at a time, to test audits.

A leak changes only the files that it affects; all other files are the same, byte for byte.
"""

import dataclasses
import itertools
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

from covid_lm.data.phantom.anatomy import sample_slice
from covid_lm.data.phantom.plan import WORD, PlannedImage

EXTRA_LENGTH = 6
_STREAM = 100
_SOFTWARE_TAG = 0x0131
_SOFTWARE = "Export Station 4"


def change_encoder_signature(payload: bytes) -> bytes:
    """Changes an image file as if another encoder had written it; pixels and length are kept.

    Only bytes among the first 64 change, and their checksum: a JPEG's JFIF density (72x72 instead
    of 1x1, without a unit), or the compression level in a PNG's zlib header.
    """
    if payload.startswith(b"\xff\xd8"):
        return payload[:14] + struct.pack(">HH", 72, 72) + payload[18:]
    (length,) = struct.unpack(">I", payload[33:37])
    chunk = payload[37:41] + b"\x78\xda" + payload[43 : 41 + length]
    return payload[:37] + chunk + struct.pack(">I", zlib.crc32(chunk)) + payload[45 + length :]


def add_metadata(payload: bytes) -> bytes:
    """Adds a "Software" entry (EXIF or PNG text) beyond the first 64 bytes.

    In a PNG it follows the pixels.
    """
    if payload.startswith(b"\xff\xd8"):
        exif = Image.Exif()
        exif[_SOFTWARE_TAG] = _SOFTWARE
        body = exif.tobytes()
        position = 2
        while payload[position + 1] != 0xC0:  # the frame header, which ends the tables
            position += 2 + struct.unpack(">H", payload[position + 2 : position + 4])[0]
        segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
        return payload[:position] + segment + payload[position:]
    chunk = b"tEXtSoftware\0" + _SOFTWARE.encode("latin-1")
    text = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return payload[:-12] + text + payload[-12:]


def draw_border_mark(pixels: np.ndarray) -> np.ndarray:
    """Copies an image, uint8 [height, width, 3], with a white line of 2 pixels at the top."""
    marked = pixels.copy()
    marked[2:4, 3 : 3 + pixels.shape[1] // 4] = 255
    return marked


def _positive(image: PlannedImage) -> bool:
    return image.label == 1


def _positive_png(image: PlannedImage) -> bool:
    return image.label == 1 and image.container.format == "PNG"


def _test(image: PlannedImage) -> bool:
    return image.split == "test"


@dataclasses.dataclass(frozen=True)
class _Leak:
    """`affects` selects the files that can have a leak; `plant` changes the chosen ones."""

    affects: Callable[[PlannedImage], bool]
    plant: Callable[[list[PlannedImage], list[PlannedImage], np.random.Generator], list]


def _lengthen_names(chosen, plan, rng):
    extra = EXTRA_LENGTH // 2
    return [dataclasses.replace(c, stem=c.stem + rng.bytes(extra).hex()) for c in chosen]


def _write_word(chosen, plan, rng):
    return [dataclasses.replace(c, stem=WORD + c.stem[len(WORD) :]) for c in chosen]


def _edit(name):
    def plant(chosen, plan, rng):
        return [dataclasses.replace(c, edit=name) for c in chosen]

    return plant


def _donors(chosen, plan, rng):
    """Returns a training image of the same class for each chosen one, as distinct as possible."""
    queues = {}
    for label in {image.label for image in chosen}:
        training = [i for i in plan if i.label == label and i.split == "train"]
        queues[label] = itertools.cycle([training[i] for i in rng.permutation(len(training))])
    return [next(queues[image.label]) for image in chosen]


def _copy_training_images(chosen, plan, rng):
    donors = _donors(chosen, plan, rng)
    return [
        dataclasses.replace(image, scene=donor.scene)
        for image, donor in zip(chosen, donors, strict=True)
    ]


def _share_patients(chosen, plan, rng):
    shared = []
    for image, donor in zip(chosen, _donors(chosen, plan, rng), strict=True):
        size = image.container.height, image.container.width
        scene = sample_slice(
            donor.scene.patient,
            donor.scene.display,
            diseased=_positive(image),
            size=size,
            seed=image.scene.seed,
        )
        shared.append(dataclasses.replace(image, patient=donor.patient, scene=scene))
    return shared


_LEAKS = {
    "name_length": _Leak(_positive, _lengthen_names),
    "name_word": _Leak(_positive, _write_word),
    "container_bytes": _Leak(_positive, _edit("container_bytes")),
    "metadata": _Leak(_positive, _edit("metadata")),
    "mode": _Leak(_positive_png, _edit("mode")),
    "border_mark": _Leak(_positive, _edit("border_mark")),
    "duplicate_across_split": _Leak(_test, _copy_training_images),
    "patient_across_split": _Leak(_test, _share_patients),
}
LEAKS = tuple(_LEAKS)


def plant_leak(plan: list[PlannedImage], leak: str, share: float, seed: int) -> list[PlannedImage]:
    """Plants `leak` in a `share` of the files that it affects; keeps the order of the plan.

    Args:
        plan: the plan without leaks.
        leak: one of `LEAKS`.
        share: 0 to 1; a larger share includes the files of a smaller one.
        seed: determines the files.
    """
    choice = np.random.default_rng((seed, _STREAM, LEAKS.index(leak)))
    details = np.random.default_rng((seed, _STREAM, LEAKS.index(leak), 1))
    affected = [i for i, image in enumerate(plan) if _LEAKS[leak].affects(image)]
    chosen = choice.permutation(affected)[: round(share * len(affected))]
    planted = list(plan)
    changed = _LEAKS[leak].plant([plan[i] for i in chosen], plan, details)
    for i, image in zip(chosen, changed, strict=True):
        planted[i] = image
    return planted
