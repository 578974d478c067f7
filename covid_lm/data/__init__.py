"""Data sets by name; all yield `ImageRecord`s."""

import dataclasses

from covid_lm.data.records import ImageDataset
from covid_lm.errors import InputError

EMBEDDED = {"phantom": 400, "phantom4000": 4000}  # name: images; they lie nowhere
DATASETS = (*EMBEDDED, "covid_ct", "cifar10", "cifar100", "cifar100_coarse", "folder")


def load_dataset(name: str, data_dir: str | None = None) -> ImageDataset:
    """Loads a data set, the same one for the same arguments.

    Args:
        name: one of `DATASETS`.
        data_dir: where it lies; the `EMBEDDED` ones need none.

    Raises:
        InputError: unknown name, no `data_dir`, or a data set that can't be used.
    """
    if name in EMBEDDED:
        from covid_lm.data.phantom.dataset import phantom

        return dataclasses.replace(phantom(EMBEDDED[name]), name=name)
    if data_dir is None:
        raise InputError(f"--dataset={name}: needs --data_dir")
    if name == "covid_ct":
        from covid_lm.data.covid_ct import covid_ct

        return covid_ct(data_dir)
    if name == "cifar10":
        from covid_lm.data.cifar import cifar10

        return cifar10(data_dir)
    if name in ("cifar100", "cifar100_coarse"):
        from covid_lm.data.cifar import cifar100

        return cifar100(data_dir, coarse=name == "cifar100_coarse")
    if name == "folder":
        from covid_lm.data.folder import folder

        return folder(data_dir)
    raise InputError(f"--dataset={name}: choose one of {', '.join(DATASETS)}")
