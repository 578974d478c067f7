"""Options of repairs, checked before any file is read."""

import dataclasses
import os

from covid_lm.data import WITH_FILES
from covid_lm.errors import InputError
from covid_lm.files import is_remote

MIN_SIDE, MAX_SIDE = 16, 4096


@dataclasses.dataclass(frozen=True)
class RepairOptions:
    """Options of repairs; true if there is a repair to make.

    Attributes:
        split: the table with new splits, a .csv file; None for none.
        neutralise: the folder of the neutral copy, which must not exist; None for none.
        side: width and height of the copy's images in pixels; None to choose it by the data.
        names: table that maps the copy's files to the original ones; None for none.

    Raises:
        InputError: a path that can't be used, or an option without the one that it needs.
    """

    split: str | None = None
    neutralise: str | None = None
    side: int | None = None
    names: str | None = None

    def __post_init__(self):
        for option in ("side", "names"):
            if getattr(self, option) is not None and self.neutralise is None:
                raise InputError(f"--{option}: only with --neutralise")
        if self.side is not None and not MIN_SIDE <= self.side <= MAX_SIDE:
            raise InputError(f"--side={self.side}: must be from {MIN_SIDE} to {MAX_SIDE}")
        for option in ("split", "names"):
            path = getattr(self, option)
            if path is not None and not path.endswith(".csv"):
                raise InputError(f"--{option}={path}: give a name that ends in .csv")
        if self.split and self.names and _same(self.split, self.names):
            raise InputError(f"--names={self.names}: is --split, too; give another name")

    def __bool__(self) -> bool:
        return self.split is not None or self.neutralise is not None

    def check(
        self, dataset: str, data_dir: str | None = None, image_root: str | None = None
    ) -> None:
        """Raises InputError if an output would be inside the data folder, or can't name its images.

        Args:
            dataset: name of the data set.
            data_dir, image_root: its location, and that of a table's images.
        """
        if self.split is not None and self.neutralise is None and dataset not in WITH_FILES:
            raise InputError(
                f"--split={self.split}: the images of {dataset} are no files of their own, which a "
                "table could name; give --neutralise=DIR, too"
            )
        folders = _data_folders(dataset, data_dir, image_root)
        if self.neutralise is not None:
            _check_new_folder(self.neutralise, folders)
        for option in ("split", "names"):
            path = getattr(self, option)
            if path is None or not os.path.exists(path):
                continue
            if any(_lies_in(path, folder) for folder in folders) or _same(path, data_dir):
                raise InputError(
                    f"--{option}={path}: would replace a file of the data; give another name"
                )


def _data_folders(dataset: str, data_dir: str | None, image_root: str | None) -> list[str]:
    """The local folders that hold the data."""
    root = image_root or data_dir
    if root and not image_root and dataset == "table" and not os.path.isdir(root):
        root = os.path.dirname(root) or "."
    return [root] if root and not is_remote(root) and os.path.isdir(root) else []


def _check_new_folder(path: str, folders: list[str]) -> None:
    if is_remote(path):
        raise InputError(f"--neutralise={path}: give a local folder")
    for folder in folders:
        if _lies_in(path, folder):
            raise InputError(
                f"--neutralise={path}: is inside the data folder, {folder}; give another one"
            )
    if os.path.lexists(path) and not (os.path.isdir(path) and not os.listdir(path)):
        raise InputError(f"--neutralise={path}: exists; give a new folder, or remove it")


def _lies_in(path: str, folder: str) -> bool:
    real = os.path.realpath(folder)
    return os.path.commonpath([real, os.path.realpath(path)]) == real


def _same(path: str, other: str | None) -> bool:
    return other is not None and os.path.realpath(path) == os.path.realpath(other)
