"""Folders of images with one sub-folder per class, with or without train/, val/ and test/."""

import functools
import os

from covid_lm.data.records import SPLITS, ImageDataset, ImageRecord
from covid_lm.data.splits import draw_split
from covid_lm.errors import InputError
from covid_lm.files import files_below, is_directory, list_names, read_bytes, refuse_link_out

VAL_SHARE, TEST_SHARE = 0.15, 0.2


def folder(data_dir: str, seed: int = 0) -> ImageDataset:
    """Reads `DIR/<class>/<image>` or `DIR/{train,val,test}/<class>/<image>`.

    Each file that isn't hidden is an image, regardless of its extension. Without a test folder, a
    stratified, seeded 20% of the files are the test split; without a validation folder, 15% of the
    remaining ones are the validation split. The reader has no patient ids, so a data set with
    several images per patient needs folders for its splits.

    Raises:
        InputError: no such directory, fewer than two classes, a class without images, or a link
            out of `data_dir`.
    """
    if not is_directory(data_dir):
        raise InputError(f"{data_dir}: no such directory; give --data_dir a folder of classes")
    split_names = [name for name in SPLITS if name in _directories(data_dir, data_dir)]
    roots = {split: os.path.join(data_dir, split) for split in split_names}
    if not roots:
        roots = {"train": data_dir}
    elif "train" not in roots:
        raise InputError(f"{data_dir}: has {'/, '.join(split_names)}/ but no train/; add it")

    classes = sorted({name for root in roots.values() for name in _directories(root, data_dir)})
    if len(classes) < 2:
        raise InputError(
            f"{data_dir}: {len(classes)} class folder(s) found; one folder per class is needed"
        )
    found, empty = [], []
    for split, root in roots.items():
        for label, class_name in enumerate(classes):
            directory = os.path.join(root, class_name)
            paths = _files(directory, data_dir)
            found += [_record(path, label, split) for path in paths]
            if not paths:
                empty.append(directory)
    if not found:
        raise InputError(f"{data_dir}: no images found in its class folders")
    if empty:
        raise InputError(
            f"{empty[0]}: a class without images; add some or remove the class everywhere"
        )
    records = tuple(found)
    for split, share in (("test", TEST_SHARE), ("val", VAL_SHARE)):
        if split not in roots:
            records = draw_split(records, split, share, seed)
    return ImageDataset("folder", tuple(classes), records).check()


def _record(path: str, label: int, split: str) -> ImageRecord:
    read = functools.partial(read_bytes, path)
    return ImageRecord(os.path.basename(path), label, split, path, read)


def _directories(root: str, data_dir: str) -> list[str]:
    paths = [os.path.join(root, name) for name in list_names(root) if not name.startswith(".")]
    return [
        os.path.basename(refuse_link_out(path, data_dir)) for path in paths if is_directory(path)
    ]


def _files(root: str, data_dir: str) -> list[str]:
    if not is_directory(root):
        return []
    paths = [path for path in files_below(root) if not os.path.basename(path).startswith(".")]
    for path in paths:
        if os.path.islink(path):
            refuse_link_out(path, data_dir)
    return paths
