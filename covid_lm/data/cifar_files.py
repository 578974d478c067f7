"""Published files of CIFAR-10 and CIFAR-100: names, checksums, and the search for them.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009). Archives, MD5 sums and
formats are described at https://www.cs.toronto.edu/~kriz/cifar.html; sizes are its server's.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterator

from covid_lm.data.archives import MAX_MEMBER_BYTES, refuse_link_out, tar_gz_members
from covid_lm.errors import InputError

ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar.html"
IMAGES_ZIP = "cifar10_images.zip"


@dataclasses.dataclass(frozen=True)
class Layout:
    """A published archive; `meta`, `train` and `test` are files in its `folder`."""

    archive: str
    num_bytes: int
    md5: str
    folder: str
    meta: tuple[str, ...]
    train: tuple[str, ...]
    test: str

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files, in the order of `meta`, `train` and `test`."""
        return (*self.meta, *self.train, self.test)


LAYOUTS = {
    "cifar10": (
        Layout(
            archive="cifar-10-python.tar.gz",
            num_bytes=170_498_071,
            md5="c58f30108f718f92721af3b95e74349a",
            folder="cifar-10-batches-py",
            meta=("batches.meta",),
            train=tuple(f"data_batch_{number}" for number in range(1, 6)),
            test="test_batch",
        ),
        Layout(
            archive="cifar-10-binary.tar.gz",
            num_bytes=170_052_171,
            md5="c32a1d4ab5d03f1284b67883e8d87530",
            folder="cifar-10-batches-bin",
            meta=("batches.meta.txt",),
            train=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
            test="test_batch.bin",
        ),
    ),
    "cifar100": (
        Layout(
            archive="cifar-100-python.tar.gz",
            num_bytes=169_001_437,
            md5="eb9058c3a382ffc7106e4002c42a8d85",
            folder="cifar-100-python",
            meta=("meta",),
            train=("train",),
            test="test",
        ),
        Layout(
            archive="cifar-100-binary.tar.gz",
            num_bytes=168_513_733,
            md5="03b5dce01913d631647c71ecec9e9cb8",
            folder="cifar-100-binary",
            meta=("fine_label_names.txt", "coarse_label_names.txt"),
            train=("train.bin",),
            test="test.bin",
        ),
    ),
}


@dataclasses.dataclass(frozen=True)
class Source:
    """Location of a data set: `path` is an archive or the unpacked folder."""

    path: str
    layout: Layout


@dataclasses.dataclass(frozen=True)
class ImagesZip:
    """Location of the zip of CIFAR-10's JPEG copies."""

    path: str


def find_source(dataset: str, data_dir: str) -> Source | ImagesZip:
    """Finds the files: Python pickles before the binary version, archives before folders.

    Args:
        dataset: key of `LAYOUTS`.
        data_dir: an archive, an unpacked folder, or a folder that contains one of these.

    Raises:
        InputError: nothing found, or a link out of `data_dir`.
    """
    layouts = {layout.archive: layout for layout in LAYOUTS[dataset]}
    archives = (*layouts, IMAGES_ZIP) if dataset == "cifar10" else tuple(layouts)
    if os.path.isfile(data_dir):
        name = os.path.basename(data_dir)
        if name not in archives:
            raise InputError(f"{data_dir}: not one of {', '.join(archives)}; give it that name")
        return Source(data_dir, layouts[name]) if name in layouts else ImagesZip(data_dir)

    for layout in LAYOUTS[dataset]:
        archive = os.path.join(data_dir, layout.archive)
        if os.path.isfile(archive):
            return Source(refuse_link_out(archive, data_dir), layout)
        folder = os.path.join(data_dir, layout.folder)
        if os.path.isdir(folder):
            return Source(refuse_link_out(folder, data_dir), layout)
        if any(os.path.isfile(os.path.join(data_dir, name)) for name in layout.files):
            return Source(data_dir, layout)
    images = os.path.join(data_dir, IMAGES_ZIP)
    if IMAGES_ZIP in archives and os.path.isfile(images):
        return ImagesZip(refuse_link_out(images, data_dir))
    unpacked = " or ".join(_described(layout) for layout in LAYOUTS[dataset])
    raise InputError(
        f"{data_dir}: no {dataset} here; --data_dir must hold {' or '.join(archives)}, or unpacked "
        f"{unpacked}; get it from {ADDRESS}"
    )


def is_published(source: Source) -> bool:
    """Returns true for the published archive, byte for byte.

    An archive of another size counts as the user's own; if truncated or damaged, reading it fails,
    at the latest at gzip's checksum.

    Raises:
        InputError: an archive of the published size with another MD5 sum.
    """
    layout = source.layout
    if os.path.isdir(source.path):
        return False
    if os.path.getsize(source.path) != layout.num_bytes:
        return False
    with open(source.path, "rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    if md5 != layout.md5:
        raise InputError(
            f"{source.path}: damaged, its MD5 sum is {md5} and not {layout.md5}; fetch it again "
            f"from {ADDRESS}"
        )
    return True


def read_files(source: Source) -> Iterator[tuple[str, bytes]]:
    """Yields name and content of each file of the layout, in any order.

    Raises:
        InputError: a file that is missing, too large or a link out of the folder, or an archive
            that is damaged or unsafe.
    """
    layout = source.layout
    read = set()
    for name, content in _from_folder(source) if os.path.isdir(source.path) else _from_tar(source):
        read.add(name)
        yield name, content
    absent = [name for name in layout.files if name not in read]
    if absent:
        raise InputError(
            f"{source.path}: holds no {absent[0]}; the layout is {_described(layout)}; get "
            f"{layout.archive} from {ADDRESS}"
        )


def _from_folder(source: Source) -> Iterator[tuple[str, bytes]]:
    for name in source.layout.files:
        path = os.path.join(source.path, name)
        if not os.path.isfile(path):
            continue
        refuse_link_out(path, source.path)
        if os.path.getsize(path) > MAX_MEMBER_BYTES:
            raise InputError(f"{path}: too large for a file of CIFAR; get it from {ADDRESS}")
        with open(path, "rb") as file:
            yield name, file.read()


def _from_tar(source: Source) -> Iterator[tuple[str, bytes]]:
    layout = source.layout
    prefix = f"{layout.folder}/"
    try:
        for name, content in tar_gz_members(source.path, {prefix + name for name in layout.files}):
            yield name.removeprefix(prefix), content
    except InputError as error:
        raise InputError(
            f"{error} (the published one has {layout.num_bytes} bytes, this one "
            f"{os.path.getsize(source.path)}; {ADDRESS})"
        ) from None


def _described(layout: Layout) -> str:
    return f"{layout.folder}/{{{', '.join(layout.files)}}}"
