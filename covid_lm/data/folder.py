"""Folders of images with one sub-folder per class, with or without folders for the splits."""

import functools
import os
import re
from collections.abc import Sequence

from covid_lm.data.image_files import FoundFiles, find_images, skipped_line
from covid_lm.data.records import SPLIT_NAMES, SPLITS, ImageDataset, ImageRecord
from covid_lm.data.splits import draw_missing_splits, numbered_patients, refuse_patient_overlap
from covid_lm.errors import InputError, visible
from covid_lm.files import is_directory, read_bytes

OUTSIDE = "image outside the class folders"


def folder(
    data_dir: str,
    patient_pattern: str | None = None,
    allow_patient_overlap: bool = True,
    seed: int = 0,
) -> ImageDataset:
    """Reads `DIR/<class>/<image>` or `DIR/<split>/<class>/<image>`.

    Splits may have any of the names in `SPLIT_NAMES`, in any case. If DIR holds a single folder
    which holds these, that is read. Missing splits are drawn by `draw_missing_splits`, unless there
    is no training split.

    Args:
        patient_pattern: regular expression, searched in the path below DIR; its first group is the
            patient.
        allow_patient_overlap: accept a patient with images in several splits.

    Raises:
        InputError: no such directory, fewer than two classes, a class without images, a link out of
            `data_dir`, two folders for one split, or a pattern that matches no path.
    """
    if not is_directory(data_dir):
        raise InputError(f"{data_dir}: no such directory; give --data_dir a folder of classes")
    found = find_images(data_dir)
    root = _enter(data_dir, found)
    notes = (
        []
        if root == data_dir
        else [f"entered: {os.path.relpath(root, data_dir)}/, the only folder"]
    )
    roots = _split_roots(root, found.folders)
    classes = sorted({name for place in roots.values() for name in _inside(place, found.folders)})
    if len(classes) < 2:
        raise InputError(
            f"{data_dir}: {len(classes)} class folder(s) found; one folder per class is needed"
        )
    records = _records(roots, classes, found.images)
    inside = {record.path for record in records}
    others = found.others + [(path, OUTSIDE) for path in found.images if path not in inside]
    notes.append(skipped_line(sorted(others), data_dir))
    if patient_pattern is not None:
        records = _with_patients(records, re.compile(patient_pattern), data_dir)
        unknown = [record.path for record in records if record.patient is None]
        if unknown:
            notes.append(f"no patient in {len(unknown)} path(s), such as {unknown[0]}")
    places = [record.path.removeprefix(os.path.join(data_dir, "")) for record in records]
    notes += refuse_patient_overlap(records, data_dir, places, allow_patient_overlap)
    records, drawn = draw_missing_splits(records, seed)
    shown = tuple(visible(note) for note in notes if note)
    return ImageDataset("folder", tuple(classes), records, notes=shown, drawn=drawn).check()


def _inside(place: str, paths: Sequence[str]) -> list[str]:
    """Names of those paths that are directly in a folder."""
    folder_path = os.path.dirname(os.path.join(place, ""))
    return [os.path.basename(path) for path in paths if os.path.dirname(path) == folder_path]


def _enter(data_dir: str, found: FoundFiles) -> str:
    """The folder that holds classes or splits: `data_dir`, or the one to which it leads."""
    root = data_dir
    while True:
        names = _inside(root, found.folders)
        if len(names) != 1 or names[0].lower() in SPLIT_NAMES or _inside(root, found.images):
            return root
        inner = os.path.join(root, names[0])
        if not _inside(inner, found.folders):
            return root
        root = inner


def _split_roots(root: str, folders: Sequence[str]) -> dict[str, str]:
    """The folder of each split, in the order of `SPLITS`; `root` for training if there is none."""
    names: dict[str, str] = {}
    for name in _inside(root, folders):
        split = SPLIT_NAMES.get(name.lower())
        if split in names:
            raise InputError(f"{root}: has {names[split]}/ and {name}/ for one split; keep one")
        if split is not None:
            names[split] = name
    roots = {split: os.path.join(root, names[split]) for split in SPLITS if split in names}
    return roots or {"train": root}


def _records(
    roots: dict[str, str], classes: Sequence[str], images: Sequence[str]
) -> tuple[ImageRecord, ...]:
    records, empty = [], []
    for split, root in roots.items():
        inside = os.path.join(root, "")
        by_class: dict[str, list[str]] = {name: [] for name in classes}
        for path in images:
            if path.startswith(inside):
                class_name, _, rest = path[len(inside) :].partition(os.sep)
                if rest:
                    by_class[class_name].append(path)
        for label, (class_name, paths) in enumerate(by_class.items()):
            records += [_record(path, label, split) for path in paths]
            if not paths:
                empty.append(os.path.join(root, class_name))
    if not records:
        raise InputError(f"{next(iter(roots.values()))}: no images found in its class folders")
    if empty:
        raise InputError(
            f"{empty[0]}: a class without images; add some or remove the class everywhere"
        )
    return tuple(records)


def _record(path: str, label: int, split: str) -> ImageRecord:
    read = functools.partial(read_bytes, path)
    return ImageRecord(os.path.basename(path), label, split, path, read)


def _with_patients(
    records: Sequence[ImageRecord], pattern: re.Pattern, data_dir: str
) -> tuple[ImageRecord, ...]:
    inside = os.path.join(data_dir, "")
    matches = [pattern.search(record.path.removeprefix(inside)) for record in records]
    if not any(matches):
        raise InputError(
            f"--patient_pattern={pattern.pattern}: in no path below {data_dir}, "
            f"such as {records[0].path.removeprefix(inside)}"
        )
    return numbered_patients(records, [match[1] if match else None for match in matches])
