"""Splits and folds: drawn where a data set lacks them, limited in size, and summarized."""

import collections
import dataclasses
import random
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from covid_lm.data.records import SPLITS, ImageDataset, ImageRecord
from covid_lm.errors import InputError

MAX_CLASSES = 12  # listed by `split_lines`
SHARES = {"test": 0.2, "val": 0.15}  # of the training images, drawn in this order


def draw_missing_splits(
    records: tuple[ImageRecord, ...], seed: int
) -> tuple[tuple[ImageRecord, ...], tuple[str, ...]]:
    """Draws a test split and a validation split where there is none; returns their names, too.

    Nothing is drawn from records without a training split.
    """
    present = {record.split for record in records}
    drawn = tuple(split for split in SHARES if split not in present and "train" in present)
    for split in drawn:
        records = draw_split(records, split, SHARES[split], seed)
    return records, drawn


def draw_split(
    records: Sequence[ImageRecord], split: str, share: float, seed: int
) -> tuple[ImageRecord, ...]:
    """Moves a share of each class's training records, at least one but not all, to `split`.

    Where patients are known, all records of a patient are moved, or none. The draw depends on the
    seed and on the records' paths, labels and patients. The order of the records is kept and has no
    effect.

    Raises:
        InputError: a class with images of a single patient.
    """
    training = [record for record in records if record.split == "train"]
    if any(record.patient is not None for record in training):
        moved = _paths_of_patients(training, split, share, seed)
    else:
        moved = _paths_of_images(training, share, seed)
    return tuple(
        dataclasses.replace(record, split=split) if record.path in moved else record
        for record in records
    )


def _paths_of_images(training: Sequence[ImageRecord], share: float, seed: int) -> set[str]:
    generator = random.Random(seed)
    moved: set[str] = set()
    for _, paths in _paths_by_label(training):
        count = min(max(round(share * len(paths)), 1), len(paths) - 1)
        moved.update(generator.sample(paths, count))
    return moved


def _paths_of_patients(
    training: Sequence[ImageRecord], split: str, share: float, seed: int
) -> set[str]:
    """Paths of the first fold, of those of the wanted size, that has and leaves every class."""
    ordered = sorted(training, key=lambda record: record.path)
    names, labels = np.unique([record.label for record in ordered], return_inverse=True)
    groups = patient_groups([record.patient for record in ordered])
    fewest = min(class_groups(labels, groups, len(names)))
    if fewest < 2:
        raise InputError(
            f"no {split} split can be drawn: all images of a class are of one patient; add "
            "patients, or give the splits"
        )
    folds = held_out_folds(ordered, min(round(1 / share), fewest), int(names[-1]) + 1, seed)
    rest = [np.delete(labels, fold) for fold in folds]
    complete = [
        fold
        for fold, others in zip(folds, rest, strict=True)
        if len(names) == len(np.unique(labels[fold])) == len(np.unique(others))
    ]
    return {ordered[row].path for row in (complete or folds)[0]}


def limit_images(dataset: ImageDataset, max_images: int | None) -> ImageDataset:
    """Limits the training and the validation split to a number of images each.

    Classes keep their shares, up to rounding; the test split is unchanged. The draw depends only on
    the records' paths and labels.
    """
    if max_images is None:
        return dataset
    kept: set[str] = set()
    for split in ("train", "val"):
        # Images are drawn by their rank within the class, as a share of the class.
        ranked = []
        for label, paths in _paths_by_label(dataset.split(split)):
            random.Random(f"{split} {label}").shuffle(paths)
            ranked += [(rank / len(paths), label, path) for rank, path in enumerate(paths)]
        kept.update(path for _, _, path in sorted(ranked)[:max_images])
    records = tuple(r for r in dataset.records if r.split == "test" or r.path in kept)
    return dataclasses.replace(dataset, records=records)


def _paths_by_label(records: Iterable[ImageRecord]) -> list[tuple[int, list[str]]]:
    """Returns each label, in order, with its sorted paths."""
    paths = collections.defaultdict(list)
    for record in records:
        paths[record.label].append(record.path)
    return [(label, sorted(paths[label])) for label in sorted(paths)]


def patient_groups(patients: Sequence[str | None]) -> np.ndarray:
    """Numbers the images by patient: int [n] from 0, in the order of the patients' names.

    An image of an unknown patient (None) is a group of its own.
    """
    names = [
        f"image {place}" if patient is None else f"patient {patient}"
        for place, patient in enumerate(patients)
    ]
    return np.unique(names, return_inverse=True)[1]


def numbered_patients(
    records: Sequence[ImageRecord], patients: Sequence[str | None]
) -> tuple[ImageRecord, ...]:
    """The records with patients as numbers, so that no name or identifier is ever written.

    Numbers are in the order of the names, and of equal length.
    """
    names = sorted({patient for patient in patients if patient is not None})
    width = len(str(len(names)))
    numbers = {name: f"{number:0{width}}" for number, name in enumerate(names, 1)}
    return tuple(
        dataclasses.replace(record, patient=None if patient is None else numbers[patient])
        for record, patient in zip(records, patients, strict=True)
    )


def refuse_patient_overlap(
    records: Sequence[ImageRecord], name: str, place: Callable[[int], str], allowed: bool
) -> list[str]:
    """A line that counts the patients with images in several splits; none without such patients.

    Args:
        name: of the data, for the message.
        place: function from a record's index to where it is, for the message.

    Raises:
        InputError: there is such a patient, and it isn't allowed.
    """
    splits: dict[str, set[str]] = collections.defaultdict(set)
    for record in records:
        splits[record.patient or ""].add(record.split)
    shared = [patient for patient, found in splits.items() if patient and len(found) > 1]
    if not shared:
        return []
    if not allowed:
        own = [row for row, record in enumerate(records) if record.patient == shared[0]]
        other = next(row for row in own if records[row].split != records[own[0]].split)
        pair = " and ".join(f"{place(row)} ({records[row].split})" for row in (own[0], other))
        raise InputError(
            f"{name}: {pair} are of one patient ({len(shared)} patient(s) are in several "
            "splits); split by patient, or give --allow_patient_overlap"
        )
    return [f"{len(shared)} patient(s) in several splits"]


def class_groups(labels: np.ndarray, groups: np.ndarray, num_classes: int) -> list[int]:
    """Counts the groups that have images of each class; `labels` and `groups` are int [n]."""
    return [len(np.unique(groups[labels == label])) for label in range(num_classes)]


def held_out_folds(
    records: Sequence[ImageRecord], num_folds: int, num_classes: int, seed: int
) -> list[np.ndarray]:
    """Draws folds with classes in equal shares and each patient in one fold.

    Returns:
        Indices of the held-out records of each fold, int [records of the fold].

    Raises:
        InputError: fewer than two folds, or a class with fewer patients than folds.
    """
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import for a tool's checks

    if num_folds < 2:
        raise InputError(f"--folds={num_folds}: must be at least 2")
    labels = np.array([record.label for record in records])
    groups = patient_groups([record.patient for record in records])
    for label, count in enumerate(class_groups(labels, groups, num_classes)):
        if count < num_folds:
            raise InputError(
                f"--folds={num_folds}: class {label} has images of {count} patients only; "
                "use fewer folds"
            )
    folds = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    return [held_out for _, held_out in folds.split(labels, labels, groups)]


@dataclasses.dataclass(frozen=True)
class SplitSummary:
    """Files and patients of one split; `patients` is None if no patient is known."""

    split: str
    files: int
    class_counts: tuple[int, ...]
    patients: int | None
    most_files_of_a_patient: int


def split_summaries(records: Sequence[ImageRecord], num_classes: int) -> list[SplitSummary]:
    """Summarizes each split that has files."""
    summaries = []
    for split in SPLITS:
        members = [record for record in records if record.split == split]
        if not members:
            continue
        counts = np.bincount([record.label for record in members], minlength=num_classes)
        patients = collections.Counter(r.patient for r in members if r.patient is not None)
        most = max(patients.values(), default=1)
        summaries.append(
            SplitSummary(split, len(members), tuple(counts.tolist()), len(patients) or None, most)
        )
    return summaries


def split_lines(summaries: Sequence[SplitSummary], classes: Sequence[str]) -> list[str]:
    """Returns a line per split with its images, patients, and images of up to 12 classes."""
    lines = []
    for summary in summaries:
        patients = f" of {summary.patients} patients" if summary.patients else ""
        counts = [f"{n} {name}" for n, name in zip(summary.class_counts, classes, strict=True)]
        if len(counts) > MAX_CLASSES:
            rest = sum(summary.class_counts[MAX_CLASSES:])
            counts[MAX_CLASSES:] = [f"{rest} of {len(counts) - MAX_CLASSES} more classes"]
        lines.append(f"{summary.split}: {summary.files} images{patients} ({', '.join(counts)})")
    return lines


def describe_splits(dataset: ImageDataset) -> str:
    """Returns the data set's name, followed by its `split_lines` and its notes."""
    summaries = split_summaries(dataset.records, len(dataset.classes))
    lines = [*split_lines(summaries, dataset.classes), *dataset.notes]
    return "\n  ".join([f"{dataset.name}:", *lines])
