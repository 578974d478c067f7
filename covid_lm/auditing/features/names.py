"""Features of the file's name and directory, and sources that several splits share."""

import collections
import os
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from covid_lm.data.records import SPLITS, ImageRecord

PREFIX_LENGTH = 6
MAX_NAME = 255
MIN_SOURCE_LENGTH = 6
MAX_SOURCE_SHARE = 0.05
_COUNTER = re.compile(r"[-_ .%(#]+\d+\)?$")


def stem(filename: str) -> str:
    """The name without its extension, cut to 255 characters."""
    return os.path.splitext(filename)[0][:MAX_NAME]


def name_facts(filename: str) -> tuple[str, ...]:
    """Words, prefixes, and sequences of one to three characters of the lower-cased stem.

    Their number, and so the length of the name, is left to the check of the name's length.
    """
    name = stem(filename).lower()
    facts = {f"contains {name[i : i + n]!r}" for n in (1, 2, 3) for i in range(len(name) - n + 1)}
    facts |= {f"begins with {name[:n]!r}" for n in range(1, min(PREFIX_LENGTH, len(name)) + 1)}
    facts |= {f"contains the word {word!r}" for word in re.findall(r"[a-z]{2,}", name)}
    return tuple(sorted(facts))


def _natural_key(filename: str) -> tuple[tuple[bool, int, str], ...]:
    """A sort key that puts "scan-9" before "scan-10"."""
    parts = re.findall(r"\d+|\D+", filename)
    return tuple((not p[0].isdigit(), int(p) if p.isdecimal() else 0, p) for p in parts)


def order_features(filenames: Sequence[str]) -> dict[str, np.ndarray]:
    """Features of the order of acquisition that the names suggest, float [n] each.

    The rank among all names in natural order, and the first and the last number in the stem (its
    last nine digits; -1 if there is none).
    """
    keys = [_natural_key(name) for name in filenames]
    ranks = {key: rank for rank, key in enumerate(sorted(set(keys)))}
    numbers = [re.findall(r"\d+", stem(name)) or ["-1"] for name in filenames]
    return {
        "rank in the order of names": np.array([ranks[key] for key in keys], float),
        "first number in the name": np.array([float(found[0][-9:]) for found in numbers]),
        "last number in the name": np.array([float(found[-1][-9:]) for found in numbers]),
    }


def relative_directories(records: Sequence[ImageRecord]) -> list[str]:
    """Each file's directory relative to the root of its class; "" for the root itself.

    The root is the deepest directory that all files of a split and class share. In a folder of
    classes it is the class folder, whose name is the label itself and no leak.
    """
    directories = [os.path.dirname(record.path.replace("!", "/")) for record in records]
    keys = [(record.split, record.label) for record in records]
    members = collections.defaultdict(list)
    for key, directory in zip(keys, directories, strict=True):
        members[key].append(directory)
    roots = {key: os.path.commonpath(found) or "." for key, found in members.items()}
    below = zip(keys, directories, strict=True)
    relative = [os.path.relpath(directory or ".", roots[key]) for key, directory in below]
    return ["" if path == "." else path for path in relative]


def directory_features(records: Sequence[ImageRecord]) -> dict[str, np.ndarray]:
    """Depth below the class's root, and number of siblings in the directory: float [n] each."""
    relative = relative_directories(records)
    places = [(r.split, r.label, inside) for r, inside in zip(records, relative, strict=True)]
    counts = collections.Counter(places)
    depths = [inside.count("/") + 1.0 if inside else 0.0 for inside in relative]
    # The number of siblings in the root itself is the size of the class: no feature of a file.
    siblings = [counts[place] - 1.0 if place[2] else 0.0 for place in places]
    return {"directory depth": np.array(depths), "siblings in the directory": np.array(siblings)}


class SharedSource(NamedTuple):
    """A patient, or a name stem, with files in several splits.

    `files` are indices; `patients` are the identifiers of these files' patients, where known.
    """

    name: str
    files: tuple[int, ...]
    splits: tuple[str, ...]
    patients: tuple[str, ...]


def name_source(filename: str) -> str | None:
    """Returns the stem without its last counter; None if there is no counter.

    "10.1101-p17-91-2.png" gives "10.1101-p17-91". A result shorter than 6 characters is too
    unspecific to identify a source, and None is returned.
    """
    name = stem(filename)
    source = _COUNTER.sub("", name)
    return None if source == name or len(source) < MIN_SOURCE_LENGTH else source


def shared_patients(records: Sequence[ImageRecord]) -> list[SharedSource]:
    """Returns the patients with files in several splits."""
    return _shared(records, [record.patient for record in records])


def name_sources(records: Sequence[ImageRecord]) -> list[str | None]:
    """The source of each file by its name, None where the name suggests none.

    A stem of more than 5% of the files is a naming scheme and identifies no source.
    """
    sources = [name_source(record.filename) for record in records]
    frequent = collections.Counter(sources)
    limit = max(MAX_SOURCE_SHARE * len(records), 2)
    return [source if frequent[source] <= limit else None for source in sources]


def shared_name_sources(records: Sequence[ImageRecord]) -> list[SharedSource]:
    """Returns the name stems with files in several splits.

    Stems whose files all belong to `shared_patients` are left out.
    """
    sources = name_sources(records)
    known = {patient.name for patient in shared_patients(records)}
    shared = _shared(records, sources)
    return [s for s in shared if not s.patients or not set(s.patients) <= known]


def _shared(records: Sequence[ImageRecord], keys: Sequence[str | None]) -> list[SharedSource]:
    members = collections.defaultdict(list)
    for index, key in enumerate(keys):
        if key is not None:
            members[key].append(index)
    shared = []
    for key, files in members.items():
        splits = tuple(sorted({records[i].split for i in files}, key=SPLITS.index))
        patients = {p for i in files if (p := records[i].patient) is not None}
        shared.append(SharedSource(key, tuple(files), splits, tuple(sorted(patients))))
    return [source for source in shared if len(source.splits) > 1]
