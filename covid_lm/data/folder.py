"""Folders of images with one sub-folder per class, with or without folders for the splits."""

import os
import re
from collections.abc import Sequence

from covid_lm.data.conversion import DEFAULT, Conversion
from covid_lm.data.dicom_frames import find_headers
from covid_lm.data.file_records import ImageFile, file_records
from covid_lm.data.identifiers import without_identifiers
from covid_lm.data.image_files import FoundFiles, find_images, skipped_line
from covid_lm.data.records import SPLIT_NAMES, SPLITS, ImageDataset
from covid_lm.data.splits import draw_missing_splits, refuse_patient_overlap
from covid_lm.errors import InputError, visible
from covid_lm.files import is_directory, is_remote

OUTSIDE = "image outside the class folders"


def folder(
    data_dir: str,
    patient_pattern: str | None = None,
    allow_patient_overlap: bool = True,
    conversion: Conversion = DEFAULT,
    seed: int = 0,
) -> ImageDataset:
    """Reads `DIR/<class>/<image>` or `DIR/<split>/<class>/<image>`.

    Splits may have any of the names in `SPLIT_NAMES`, in any case. If DIR holds a single folder
    which holds these, that is read. Missing splits are drawn by `draw_missing_splits`, unless there
    is no training split.

    Args:
        patient_pattern: regular expression, searched in the path below DIR; its first group is the
            patient; otherwise DICOM files have one.
        allow_patient_overlap: accept a patient with images in several splits.
        conversion: of the files.

    Raises:
        InputError: no such directory, fewer than two classes, a class without images, a link out of
            `data_dir`, two folders for one split, or a pattern that matches no path.
    """
    if not is_directory(data_dir):
        raise InputError(f"{data_dir}: no such directory; give --data_dir a folder of classes")
    found = find_images(data_dir)
    found.check_readable(data_dir)
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
    files = _class_files(roots, classes, found.images)
    inside = {file.path for file in files}
    others = found.others + [(path, OUTSIDE) for path in found.images if path not in inside]
    notes.append(skipped_line(sorted(others), data_dir))
    if patient_pattern is not None:
        files = _with_patients(files, re.compile(patient_pattern), data_dir)
        unknown = [file.path for file in files if not file.patient]
        if unknown:
            notes.append(f"no patient in {len(unknown)} path(s), such as {unknown[0]}")
    headers = found.headers or find_headers(inside if is_remote(data_dir) else ())
    records, identifiers = file_records(files, headers, classes, conversion)

    def place(row: int) -> str:
        below = records[row].path.removeprefix(os.path.join(data_dir, ""))
        return identifiers.replace(below, records[row].patient)

    notes += refuse_patient_overlap(records, data_dir, place, allow_patient_overlap)
    records, drawn = draw_missing_splits(records, seed)
    records = without_identifiers(records, identifiers, data_dir)
    shown = tuple(visible(identifiers.replace(note)) for note in notes if note)
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


def _class_files(
    roots: dict[str, str], classes: Sequence[str], images: Sequence[str]
) -> list[ImageFile]:
    files: list[ImageFile] = []
    empty = []
    for split, root in roots.items():
        inside = os.path.join(root, "")
        by_class: dict[str, list[str]] = {name: [] for name in classes}
        for path in images:
            if path.startswith(inside):
                class_name, _, rest = path[len(inside) :].partition(os.sep)
                if rest:
                    by_class[class_name].append(path)
        for label, (class_name, paths) in enumerate(by_class.items()):
            files += [ImageFile(path, label, split) for path in paths]
            if not paths:
                empty.append(os.path.join(root, class_name))
    if not files:
        raise InputError(f"{next(iter(roots.values()))}: no images found in its class folders")
    if empty:
        raise InputError(
            f"{empty[0]}: a class without images; add some or remove the class everywhere"
        )
    return files


def _with_patients(
    files: Sequence[ImageFile], pattern: re.Pattern, data_dir: str
) -> list[ImageFile]:
    inside = os.path.join(data_dir, "")
    matches = [pattern.search(file.path.removeprefix(inside)) for file in files]
    if not any(matches):
        raise InputError(
            f"--patient_pattern={pattern.pattern}: in no path below {data_dir}, "
            f"such as {files[0].path.removeprefix(inside)}"
        )
    return [
        file._replace(patient=(match[1] or "") if match else "")
        for file, match in zip(files, matches, strict=True)
    ]
