"""Data sets by name; all consist of `ImageRecord`s."""

import dataclasses

from covid_lm.data.records import ImageDataset
from covid_lm.errors import InputError

EMBEDDED = {"phantom": 400, "phantom4000": 4000}  # name: number of images, generated in memory
DATASETS = (*EMBEDDED, "covid_ct", "cifar10", "cifar100", "cifar100_coarse", "folder")


def load_dataset(name: str, data_dir: str | None = None) -> ImageDataset:
    """Loads a data set; the same arguments give the same records and splits.

    Args:
        name: one of `DATASETS`.
        data_dir: location of the data set; not needed for `EMBEDDED` ones.

    Raises:
        InputError: unknown name, no `data_dir`, or an unusable data set.
    """
    if name in EMBEDDED:
        from covid_lm.data.phantom.dataset import phantom

        return dataclasses.replace(phantom(EMBEDDED[name]), name=name)
    require_data_dir(name, data_dir)
    assert data_dir is not None
    if name == "covid_ct":
        from covid_lm.data.covid_ct import covid_ct

        return covid_ct(data_dir)
    if name.startswith("cifar") and name in DATASETS:
        from covid_lm.data.cifar import cifar10, cifar100

        if name == "cifar10":
            return cifar10(data_dir)
        return cifar100(data_dir, coarse=name == "cifar100_coarse")
    if name == "folder":
        from covid_lm.data.folder import folder

        return folder(data_dir)
    raise InputError(f"--dataset={name}: choose one of {', '.join(DATASETS)}")


def require_data_dir(name: str, data_dir: str | None) -> None:
    """Raises InputError if a data set that isn't embedded has no `data_dir`."""
    if name not in EMBEDDED and data_dir is None:
        raise InputError(f"--dataset={name}: needs --data_dir")


def check_dataset(name: str, data_dir: str | None) -> None:
    """Checks what can be checked quickly: directory, lists and file names of a data set.

    Raises:
        InputError: no `data_dir`, or a layout that `load_dataset` can't read.
    """
    require_data_dir(name, data_dir)
    if name.startswith("cifar") and data_dir is not None:
        from covid_lm.data.cifar_files import find_source

        find_source(name.removesuffix("_coarse"), data_dir)
    elif name not in EMBEDDED:
        load_dataset(name, data_dir)
