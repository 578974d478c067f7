"""Data sets by name; all consist of `ImageRecord`s."""

import dataclasses
from typing import Any

from covid_lm.data.reading import NEEDED, Reading
from covid_lm.data.records import ImageDataset, with_visible_names
from covid_lm.errors import InputError

# Data sets generated in memory: name and arguments of `phantom`.
EMBEDDED: dict[str, dict[str, Any]] = {
    "phantom": {},
    "phantom4000": {"num_images": 4000},
    "phantom_named": {"leak": "name_class"},
}
WITH_FILES = ("folder", "table")  # whose images are files of their own
DATASETS = (*EMBEDDED, "covid_ct", "cifar10", "cifar100", "cifar100_coarse", *WITH_FILES)
UNLABELLED = "images"  # a folder or zip of images without classes, for pre-training only
# Data sets that `check_dataset` has read, with its arguments, until `load_dataset` takes them.
_CHECKED: list[tuple[tuple, ImageDataset]] = []


def load_dataset(
    name: str, data_dir: str | None = None, reading: Reading | None = None
) -> ImageDataset:
    """Loads a data set; the same arguments give the same records and splits.

    Args:
        name: one of `DATASETS`, or UNLABELLED.
        data_dir: location of the data set; not needed for `EMBEDDED` ones.
        reading: options for it; the defaults unless given.

    Raises:
        InputError: unknown name, no `data_dir`, or an unusable data set.
        RunError: it can't be downloaded.
    """
    if (checked := _take_checked((name, data_dir, reading))) is not None:
        return checked
    _download(name, data_dir, reading)
    dataset = _load(name, data_dir, reading or Reading())
    if reading is not None and reading.training and not dataset.split("train"):
        raise InputError(f"{name}: no training images; it can be evaluated and audited only")
    return dataset


def _load(name: str, data_dir: str | None, reading: Reading) -> ImageDataset:
    from covid_lm.data.cifar import cifar
    from covid_lm.data.covid_ct import covid_ct
    from covid_lm.data.folder import folder
    from covid_lm.data.unlabelled import unlabelled_images

    if name in EMBEDDED:
        from covid_lm.data.phantom.dataset import phantom  # scipy is slow to import

        dataset = phantom(**EMBEDDED[name])
        root = dataset.records[0].path.removesuffix(dataset.records[0].filename)
        return dataclasses.replace(dataset, name=name, root=root)
    location = require_data_dir(name, data_dir)
    if name not in (*DATASETS, UNLABELLED):
        raise InputError(f"--dataset={name}: choose one of {', '.join(DATASETS)}")
    if name.startswith("cifar"):
        return with_visible_names(cifar(name, location), location)
    if name == "folder":
        dataset = folder(
            location, reading.patient_pattern, reading.accepts_overlap, reading.conversion
        )
        return with_visible_names(dataset, location)
    if name == "table":
        from covid_lm.data.table import read_table  # pandas is slow to import

        dataset = read_table(
            location,
            reading.columns,
            reading.image_root,
            reading.accepts_overlap,
            reading.conversion,
        )
        return with_visible_names(dataset, dataset.root)
    if name == UNLABELLED:
        dataset = unlabelled_images(location, conversion=reading.conversion)
    else:
        dataset = covid_ct(location)
    return with_visible_names(dataset, location)


def require_data_dir(name: str, data_dir: str | None) -> str:
    """Returns `data_dir`; raises InputError if there is none and the data set isn't embedded."""
    if name not in EMBEDDED and data_dir is None:
        raise InputError(f"--dataset={name}: needs --data_dir{download_hint(name)}")
    return data_dir or ""


def download_hint(*names: str) -> str:
    """End of a message about a missing folder, for data sets that `--download` fetches."""
    found = [name for name in names if name in NEEDED["download"]]
    return f"; --download fetches {found[0]} there" if found else ""


def _download(name: str, data_dir: str | None, reading: Reading | None) -> None:
    if reading is not None and reading.download and name in NEEDED["download"]:
        from covid_lm.data.download import download

        download(name, require_data_dir(name, data_dir))


def check_dataset(name: str, data_dir: str | None, reading: Reading | None = None) -> None:
    """Checks what can be checked quickly: directory, lists and file names of a data set.

    What is read completely for that is kept for one call of `load_dataset`.

    Raises:
        InputError: no `data_dir`, or a layout that `load_dataset` can't read.
        RunError: it can't be downloaded.
    """
    location = require_data_dir(name, data_dir)
    if name.startswith("cifar"):
        _download(name, data_dir, reading)
        from covid_lm.data.cifar_files import find_source

        find_source(name, location)
    elif name not in EMBEDDED:
        arguments = (name, data_dir, reading)
        _take_checked(arguments)
        _CHECKED.append((arguments, load_dataset(name, location, reading)))


def _take_checked(arguments: tuple) -> ImageDataset | None:
    for place, (checked, dataset) in enumerate(_CHECKED):
        if checked == arguments:
            del _CHECKED[place]
            return dataset
    return None
