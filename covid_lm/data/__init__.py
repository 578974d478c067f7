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
    if data_dir is None:
        raise InputError(f"--dataset={name}: needs --data_dir")
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
