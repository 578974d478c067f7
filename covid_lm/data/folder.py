"""Folders of images with one sub-folder per class, with or without train/, val/ and test/."""

import functools
import os

from covid_lm.data.archives import refuse_link_out
from covid_lm.data.records import SPLITS, ImageDataset, ImageRecord
from covid_lm.data.splits import draw_split
from covid_lm.errors import InputError
from covid_lm.files import files_below, is_directory, list_names, read_bytes

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
    files = _files_by_class(data_dir, roots, classes)
    records = tuple(
        ImageRecord(
            filename=os.path.basename(path),
            label=classes.index(class_name),
            split=split,
            path=path,
            read=functools.partial(read_bytes, path),
        )
        for (split, class_name), paths in files.items()
        for path in paths
    )
    for split, share in (("test", TEST_SHARE), ("val", VAL_SHARE)):
        if split not in roots:
            records = draw_split(records, split, share, seed)
    return ImageDataset("folder", tuple(classes), records).check()


def _files_by_class(
    data_dir: str, roots: dict[str, str], classes: list[str]
) -> dict[tuple[str, str], list[str]]:
    """Maps (split, class name) to the paths of its files, at least one each."""
    files = {
        (split, class_name): _files(os.path.join(root, class_name), data_dir)
        for split, root in roots.items()
        for class_name in classes
    }
    if not any(files.values()):
        raise InputError(f"{data_dir}: no images found in its class folders")
    for split, root in roots.items():
        for class_name in classes:
            if not files[split, class_name]:
                raise InputError(
                    f"{os.path.join(root, class_name)}: a class without images; "
                    "add some or remove the class everywhere"
                )
    return files


def _directories(root: str, data_dir: str) -> list[str]:
    names = [
        name
        for name in list_names(root)
        if not name.startswith(".") and is_directory(os.path.join(root, name))
    ]
    for name in names:
        refuse_link_out(os.path.join(root, name), data_dir)
    return names


def _files(root: str, data_dir: str) -> list[str]:
    if not is_directory(root):
        return []
    paths = [path for path in files_below(root) if not os.path.basename(path).startswith(".")]
    for path in paths:
        if os.path.islink(path):
            refuse_link_out(path, data_dir)
    return paths
