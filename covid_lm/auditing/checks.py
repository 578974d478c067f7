"""Checks on the data, the most specific first: the features of each, and advice on a finding.

A new check is a function from observations to features and a row of `CHECKS`.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from covid_lm.auditing.design_matrix import Features
from covid_lm.auditing.features import container as container_features
from covid_lm.auditing.features import history as history_features
from covid_lm.auditing.features import layout as layout_features
from covid_lm.auditing.features import names as name_features
from covid_lm.auditing.features.observations import Observation

FILE, PICTURE, FACTOR, EMBEDDING = "file", "picture", "factor", "embedding"


@dataclasses.dataclass(frozen=True)
class Check:
    """A kind of feature that a probe tries to predict the label from.

    Attributes:
        name: identifier in `audit.json`.
        title: short description.
        kind: "file" for properties of the file; "picture" for measurements of the pixels, and
            "factor" for a factor of the records (see `factor_checks`), which both may be related to
            the label for legitimate reasons; "embedding" for clusters by a model, which sees the
            disease, too.
        leakage_class: see `findings.LEAKAGE_CLASSES`.
        advice: one sentence on what to do about a finding.
        features: computes the features from the observations.
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
        extension = f"extension is {container_features.extension(o.record.filename)!r}"
        format_ = f"format is {o.format}"
        facts.append((extension, format_, f"{extension} and {format_}"))
    return Features(facts=facts)


def _mode(seen: Sequence[Observation]) -> Features:
    facts = []
    for o in seen:
        depth = f"{o.bit_depth} bits per channel"
        combined = f"{o.format} of mode {o.mode} with {depth}"
        facts.append((f"format is {o.format}", f"mode is {o.mode}", depth, combined))
    return Features(facts=facts)


def _first_bytes(seen: Sequence[Observation]) -> Features:
    unusual = container_features.unusual_bytes([(o.format, o.first_bytes) for o in seen])
    return Features(facts=[(*o.first_bytes, *u) for o, u in zip(seen, unusual, strict=True)])


def _size(seen: Sequence[Observation]) -> Features:
    width = np.array([o.width for o in seen], float)
    height = np.array([o.height for o in seen], float)
    return Features({"width": width, "height": height, "aspect ratio": width / height})


def _file_size(seen: Sequence[Observation]) -> Features:
    num_bytes = np.array([o.num_bytes for o in seen], float)
    pixels = np.array([o.width * o.height for o in seen], float)
    return Features({"bytes in the file": num_bytes, "bits per pixel": 8 * num_bytes / pixels})


def _surroundings(seen: Sequence[Observation]) -> Features:
    rows = [layout_features.surrounding_features(o.thumbnail) for o in seen]
    return Features({name: np.array([row[name] for row in rows]) for name in rows[0]})


def _history(seen: Sequence[Observation]) -> Features:
    numbers = _attribute("history")(seen).numbers
    return Features(numbers, [history_features.period_facts(o.history) for o in seen])


def _order(seen: Sequence[Observation]) -> Features:
    return Features(name_features.order_features([o.record.filename for o in seen]))


def _attribute(attribute: str) -> Callable[[Sequence[Observation]], Features]:
    """Numbers or facts that the observations already have."""

    def features(seen: Sequence[Observation]) -> Features:
        rows = [getattr(o, attribute) for o in seen]
        if isinstance(rows[0], tuple):
            return Features(facts=rows)
        return Features({name: np.array([row[name] for row in rows]) for name in rows[0]})

    return features


_RENAME = "Give every file a random name of the same length before a model is trained."
_DECODE = "Pass only decoded pixels to the model"
_REENCODE = f"{_DECODE}; write all classes with one encoder and one set of options."
_SOURCES = "Collect all classes from the same sources, or match the sources between classes"
_PATHS = "Do not pass the path to the model; if a directory is a source, split by directory."
_METADATA = f"{_DECODE}; remove the metadata from the files of all classes."
_MODES = f"{_DECODE}; convert all classes to one mode."
_BORDERS = "Look at the borders for marks, rulers and frames, and crop them off."
_CROPS = "Cut off uniform bars, and crop all classes by one rule before they are resized."
_COLOURS = "Convert all classes to gray, or collect them from the same devices and programs."
_AROUND = "Crop all classes to the same region; tables, arms and cables tell where it was made."
_TIME = "Find out whether the classes were collected one after the other; if so, split by date."
_SIZES = f"{_SOURCES}; resizing hides the numbers but not the distortion."
_TRACES = f"{_SOURCES}; traces of earlier compression survive any re-encoding."
_SCAN = "Check whether display windows or scanners differ between classes, and normalize them."

CHECKS = (
    Check("name_length", "file name length", FILE, "L2", _RENAME, _name_length),
    Check("name_characters", "file name characters", FILE, "L2", _RENAME, _name_characters),
    Check("directory", "directory depth and siblings", FILE, "L2", _PATHS, _directory),
    Check("metadata", "embedded metadata", FILE, "L2", _METADATA, _attribute("metadata")),
    Check("mode", "format, mode and bit depth", FILE, "L2", _MODES, _mode),
    Check("extension", "extension and actual format", FILE, "L2", _REENCODE, _extension),
    Check("border", "border pixels only", PICTURE, "L2", _BORDERS, _attribute("border")),
    Check("container_bytes", "first 64 bytes", FILE, "L2", _REENCODE, _first_bytes),
    Check("marks", "burned-in marks", PICTURE, "L2", _BORDERS, _attribute("marks")),
    Check("padding", "padding and crop", PICTURE, "L2", _CROPS, _attribute("padding")),
    Check("order", "order of the file names", FILE, "L3.1", _TIME, _order),
    Check("encoder", "encoder's settings", FILE, "L2", _REENCODE, _attribute("encoder")),
    Check("size", "width, height and aspect ratio", FILE, "L2", _SIZES, _size),
    Check("file_size", "file size", PICTURE, "L2", _REENCODE, _file_size),
    Check("history", "earlier scaling or JPEG", PICTURE, "L3.3", _TRACES, _history),
    Check("compression", "compression traces", PICTURE, "L3.3", _TRACES, _attribute("compression")),
    Check("colour", "colour cast", PICTURE, "L3.3", _COLOURS, _attribute("colour")),
    Check("surroundings", "centre blacked out", PICTURE, "L3.3", _AROUND, _surroundings),
    Check("intensity", "brightness and contrast", PICTURE, "L3.3", _SCAN, _attribute("intensity")),
)
