"""Leaks that can be planted in the phantom, one at a time, to test audits.

A leak changes only the files that it affects; all other files are the same, byte for byte.
"""

import dataclasses
import itertools
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from covid_lm.data.phantom.anatomy import sample_slice
from covid_lm.data.phantom.plan import WORD, PlannedImage

_FILE_LEAKS = ("name_length", "name_word", "container_bytes", "metadata", "mode", "border_mark")
_SPLIT_LEAKS = ("duplicate_across_split", "patient_across_split")
LEAKS = (*_FILE_LEAKS, *_SPLIT_LEAKS, "name_class")  # The position is part of a leak's seed.
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
    pixels = _png_chunk(b"IDAT", b"\x78\xda" + payload[43 : 41 + length])
    return payload[:33] + pixels + payload[45 + length :]


def add_metadata(payload: bytes) -> bytes:
    """Adds a "Software" entry beyond the first 64 bytes: EXIF, or PNG text after the pixels."""
    if payload.startswith(b"\xff\xd8"):
        exif = Image.Exif()
        exif[_SOFTWARE_TAG] = _SOFTWARE
        body = exif.tobytes()
        position = 2
        while payload[position + 1] != 0xC0:  # the frame header, which ends the tables
            position += 2 + struct.unpack(">H", payload[position + 2 : position + 4])[0]
        segment = b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body
        return payload[:position] + segment + payload[position:]
    text = _png_chunk(b"tEXt", b"Software\0" + _SOFTWARE.encode("latin-1"))
    return payload[:-12] + text + payload[-12:]


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def draw_border_mark(pixels: np.ndarray) -> np.ndarray:
    """Copies an image, uint8 [height, width, 3], with a white line of 2 pixels at the top."""
    marked = pixels.copy()
    marked[2:4, 3 : 3 + pixels.shape[1] // 4] = 255
    return marked


def plant_leak(plan: list[PlannedImage], leak: str, share: float, seed: int) -> list[PlannedImage]:
    """Plants `leak` in a `share` of the files that it concerns; keeps the order of the plan.

    Args:
        plan: the plan without leaks.
        leak: one of `LEAKS`.
        share: 0 to 1, of all files of the class or split, even if only some of these can have the
            leak; a larger share includes the files of a smaller one.
        seed: determines the files.
    """
    choice = np.random.default_rng((seed, _STREAM, LEAKS.index(leak)))
    details = np.random.default_rng((seed, _STREAM, LEAKS.index(leak), 1))
    concerned = [place for place, image in enumerate(plan) if _is_concerned(image, leak)]
    possible = [
        place for place in concerned if leak != "mode" or plan[place].container.format == "PNG"
    ]
    chosen = choice.permutation(possible)[: round(share * len(concerned))]
    labels = {plan[place].label for place in chosen}
    donors = _donors(plan, labels, details) if leak in _SPLIT_LEAKS else {}
    class_names = _class_names(plan, details) if leak == "name_class" else []
    planted = list(plan)
    for place in chosen:
        image = plan[place]
        if leak == "name_length":
            image = dataclasses.replace(image, stem=image.stem + details.bytes(3).hex())
        elif leak == "name_word":
            image = dataclasses.replace(image, stem=WORD + image.stem[len(WORD) :])
        elif leak == "name_class":
            image = dataclasses.replace(image, stem=class_names[place])
        elif leak == "duplicate_across_split":
            image = dataclasses.replace(image, scene=next(donors[image.label]).scene)
        elif leak == "patient_across_split":
            donor, old = next(donors[image.label]), image.scene
            scene = sample_slice(donor.scene.patient, image.label == 1, old.size, old.seed)
            image = dataclasses.replace(image, patient=donor.patient, scene=scene)
        else:
            image = dataclasses.replace(image, edit=leak)
        planted[place] = image
    return planted


def _is_concerned(image: PlannedImage, leak: str) -> bool:
    if leak in _SPLIT_LEAKS:
        return image.split == "test"
    if leak == "name_class":
        return True
    return image.label == 1


def _class_names(plan: list[PlannedImage], rng: np.random.Generator) -> list[str]:
    """Stems like the paper's, "covid_201_1": class, number of the patient, number of the slice.

    The patients of each class are numbered from 1 in random order.
    """
    names = [""] * len(plan)
    for label, word in enumerate(("non-covid", "covid")):
        slices: dict[str, list[int]] = {}
        for place, image in enumerate(plan):
            if image.label == label:
                slices.setdefault(image.patient, []).append(place)
        patients = [list(slices)[i] for i in rng.permutation(len(slices))]
        for number, patient in enumerate(patients, 1):
            for slice_number, place in enumerate(slices[patient], 1):
                names[place] = f"{word}_{number:03}_{slice_number}"
    return names


def _donors(
    plan: list[PlannedImage], labels: set[int], rng: np.random.Generator
) -> dict[int, Iterator[PlannedImage]]:
    """Maps labels to the training images of the class in random order, repeated without end."""
    donors: dict[int, Iterator[PlannedImage]] = {}
    for label in sorted(labels):
        training = [i for i in plan if i.label == label and i.split == "train"]
        donors[label] = itertools.cycle([training[i] for i in rng.permutation(len(training))])
    return donors
