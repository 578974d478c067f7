"""What a file's name and place tell."""

import collections
import functools
import os
import re
from collections.abc import Sequence

import numpy as np

from covid_lm.data.records import ImageRecord

PREFIX_LENGTH = 6
MAX_NAME = 255


def stem(filename: str) -> str:
    """The name without its extension, cut to 255 characters."""
    return os.path.splitext(filename)[0][:MAX_NAME]


def name_facts(filename: str) -> tuple[str, ...]:
    """Words, characters, pairs and triples of characters and beginnings of a lower-cased stem.

    How many there are, and so the length of the name, is left to a check of its own.
    """
    name = stem(filename).lower()
    facts = {f"contains {name[i : i + n]!r}" for n in (1, 2, 3) for i in range(len(name) - n + 1)}
    facts |= {f"begins with {name[:n]!r}" for n in range(1, min(PREFIX_LENGTH, len(name)) + 1)}
    facts |= {f"contains the word {word!r}" for word in re.findall(r"[a-z]{2,}", name)}
    return tuple(sorted(facts))


def natural_key(filename: str) -> tuple[tuple[bool, int, str], ...]:
    """A key that sorts "scan-9" before "scan-10"."""
    parts = re.findall(r"\d+|\D+", filename)
    return tuple((not p[0].isdigit(), int(p) if p.isdecimal() else 0, p) for p in parts)


def order_features(filenames: Sequence[str]) -> dict[str, np.ndarray]:
    """Where the names put each file in time or sequence: float [n] each.

    The place among all names in natural order, and the first and last number in the stem (its last
    nine digits; -1 where there is none).
    """
    keys = [natural_key(name) for name in filenames]
    ranks = {key: rank for rank, key in enumerate(sorted(set(keys)))}
    numbers = [re.findall(r"\d+", stem(name)) or ["-1"] for name in filenames]
    return {
        "place in the order of names": np.array([ranks[key] for key in keys], float),
        "first number in the name": np.array([float(found[0][-9:]) for found in numbers]),
        "last number in the name": np.array([float(found[-1][-9:]) for found in numbers]),
    }


def class_roots(records: Sequence[ImageRecord]) -> dict[tuple[str, int], str]:
    """The directory that the files of each (split, label) have in common.

    In a folder of classes that is the class folder, whose name is the label itself and no leak.
    """
    directories: dict[tuple[str, int], list[str]] = {}
    for record in records:
        directories.setdefault((record.split, record.label), []).append(_directory(record))
    return {key: _common_root(names) for key, names in directories.items()}


def _directory(record: ImageRecord) -> str:
    return os.path.dirname(record.path.replace("!", "/"))


def _common_root(directories: Sequence[str]) -> str:
    return functools.reduce(lambda a, b: os.path.commonpath([a, b]) if a and b else "", directories)


def relative_directories(records: Sequence[ImageRecord]) -> list[str]:
    """Each file's directory below its class's root: "" where it lies in the root."""
    roots = class_roots(records)
    relative = []
    for record in records:
        directory, root = _directory(record), roots[record.split, record.label]
        inside = os.path.relpath(directory or ".", root or ".")
        relative.append("" if inside == "." else inside)
    return relative


def directory_features(records: Sequence[ImageRecord]) -> dict[str, np.ndarray]:
    """Depth below the class's root, and siblings in a directory below it: float [n] each."""
    relative = relative_directories(records)
    places = [(r.split, r.label, inside) for r, inside in zip(records, relative, strict=True)]
    counts = collections.Counter(places)
    depths = [inside.count("/") + 1 if inside else 0 for inside in relative]
    # Siblings in the root itself are the size of the class, which the label alone decides.
    siblings = [counts[place] - 1 if place[2] else 0 for place in places]
    return {
        "directory depth": np.array(depths, float),
        "siblings in the directory": np.array(siblings, float),
    }
