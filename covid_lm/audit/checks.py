"""The checks on the data, the most specific first: what each looks at and what to do about it."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from covid_lm.audit.design_matrix import Features
from covid_lm.audit.features import container as container_features
from covid_lm.audit.features import names as name_features
from covid_lm.audit.features.observations import Observation

FILE, PICTURE = "file", "picture"
SIDES = ("width", "height")
_DECODE = "Decode the pixels and let nothing else of the file reach the model"
_RENAME = "Rename every file to a random name of one length before any model sees it"
_REENCODE = "write all classes with one encoder and one set of options"
_SOURCES = "Collect all classes from the same sources, or match the sources between classes"


@dataclasses.dataclass(frozen=True)
class Check:
    """One kind of feature.

    Attributes:
        name: identifies it in `audit.json`.
        title: what it looks at.
        kind: "file" for what no picture shows; "picture" for what is measured on the pixels,
            where some relation with the label can be legitimate.
        leakage_class: of Kapoor and Narayanan (2023), "Leakage and the reproducibility crisis in
            machine-learning-based science", Patterns 4 (9).
        advice: one sentence.
        features: from the observations to what is probed.
    """

    name: str
    title: str
    kind: str
    leakage_class: str
    advice: str
    features: Callable[[Sequence[Observation]], Features]


def _name_length(seen: Sequence[Observation]) -> Features:
    return Features({"name length": np.array([len(o.record.filename) for o in seen], float)})


def _name_characters(seen: Sequence[Observation]) -> Features:
    return Features(facts=[name_features.name_facts(o.record.filename) for o in seen])


def _directory(seen: Sequence[Observation]) -> Features:
    records = [o.record for o in seen]
    inside = name_features.relative_directories(records)
    facts = [(f"directory is {path!r}",) for path in inside]
    return Features(name_features.directory_features(records), facts)


def _extension(seen: Sequence[Observation]) -> Features:
    facts = []
    for o in seen:
        suffix = container_features.extension(o.record.filename)
        known = [f"extension is {suffix!r}", f"format is {o.format}"]
        known.append(f"extension is {suffix!r} and format is {o.format}")
        facts.append(tuple(known))
    return Features(facts=facts)


def _mode(seen: Sequence[Observation]) -> Features:
    return Features(
        facts=[
            (
                f"format is {o.format}",
                f"mode is {o.mode}",
                f"{o.bit_depth} bits per channel",
                f"{o.format} of mode {o.mode} with {o.bit_depth} bits per channel",
            )
            for o in seen
        ]
    )


def _metadata(seen: Sequence[Observation]) -> Features:
    return Features(facts=[o.metadata for o in seen])


def _size(seen: Sequence[Observation]) -> Features:
    width, height = (np.array([getattr(o, side) for o in seen], float) for side in SIDES)
    return Features({"width": width, "height": height, "aspect ratio": width / height})


def _file_size(seen: Sequence[Observation]) -> Features:
    num_bytes = np.array([o.num_bytes for o in seen], float)
    pixels = np.array([o.width * o.height for o in seen], float)
    return Features({"bytes in the file": num_bytes, "bits per pixel": 8 * num_bytes / pixels})


def _first_bytes(seen: Sequence[Observation]) -> Features:
    return Features(facts=[o.first_bytes for o in seen])


def _order(seen: Sequence[Observation]) -> Features:
    return Features(name_features.order_features([o.record.filename for o in seen]))


def _measured(attribute: str) -> Callable[[Sequence[Observation]], Features]:
    def features(seen: Sequence[Observation]) -> Features:
        rows = [getattr(o, attribute) for o in seen]
        return Features({name: np.array([row[name] for row in rows]) for name in rows[0]})

    return features


CHECKS = (
    Check("name_length", "file name length", FILE, "L2", f"{_RENAME}.", _name_length),
    Check(
        "name_characters",
        "file name characters and words",
        FILE,
        "L2",
        f"{_RENAME}.",
        _name_characters,
    ),
    Check(
        "directory",
        "directory depth and siblings",
        FILE,
        "L2",
        "Keep the path away from the model, and split by directory if it is a source.",
        _directory,
    ),
    Check(
        "metadata",
        "embedded metadata",
        FILE,
        "L2",
        f"{_DECODE}; strip the metadata of all classes alike.",
        _metadata,
    ),
    Check(
        "mode",
        "format, mode and bit depth",
        FILE,
        "L2",
        f"{_DECODE}; convert all classes to one mode.",
        _mode,
    ),
    Check(
        "extension",
        "extension against true format",
        FILE,
        "L2",
        f"{_DECODE}; {_REENCODE}.",
        _extension,
    ),
    Check(
        "border",
        "border ring alone",
        PICTURE,
        "L2",
        "Look at the borders for marks, rulers and frames, and crop them off.",
        _measured("border"),
    ),
    Check(
        "container_bytes",
        "first 64 bytes",
        FILE,
        "L2",
        f"{_DECODE}; {_REENCODE}.",
        _first_bytes,
    ),
    Check(
        "order",
        "acquisition order in names",
        FILE,
        "L3.1",
        "Find out whether the classes were collected one after the other, and split by time.",
        _order,
    ),
    Check(
        "size",
        "width, height and aspect ratio",
        FILE,
        "L2",
        f"{_SOURCES}; resizing hides the numbers but keeps the distortion.",
        _size,
    ),
    Check("file_size", "file size", PICTURE, "L2", f"{_DECODE}; {_REENCODE}.", _file_size),
    Check(
        "compression",
        "compression traces of the pixels",
        PICTURE,
        "L3.3",
        f"{_SOURCES}; a model can read earlier compression after any re-encoding.",
        _measured("compression"),
    ),
    Check(
        "intensity",
        "mean and spread of intensity",
        PICTURE,
        "L3.3",
        "Ask whether display windows or scanners differ between classes, and normalize them.",
        _measured("intensity"),
    ),
)
