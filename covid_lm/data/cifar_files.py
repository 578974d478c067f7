"""Published files of CIFAR-10 and CIFAR-100: names, checksums, and the search for them.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009). Archives, MD5 sums and
formats are described at https://www.cs.toronto.edu/~kriz/cifar.html; sizes are its server's.
"""

import dataclasses
import hashlib
import os

from covid_lm.data.archives import MAX_MEMBER_BYTES, tar_gz_members
from covid_lm.errors import InputError
from covid_lm.files import read_bytes, refuse_link_out

ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar.html"


# Size in bytes and MD5 sum of each published archive.
PUBLISHED = {
    "cifar-10-python.tar.gz": (170_498_071, "c58f30108f718f92721af3b95e74349a"),
    "cifar-10-binary.tar.gz": (170_052_171, "c32a1d4ab5d03f1284b67883e8d87530"),
    "cifar-100-python.tar.gz": (169_001_437, "eb9058c3a382ffc7106e4002c42a8d85"),
    "cifar-100-binary.tar.gz": (168_513_733, "03b5dce01913d631647c71ecec9e9cb8"),
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """Files of an archive in its `folder`: class names, then batches, the last for the test."""

    archive: str
    folder: str = ""
    meta: tuple[str, ...] = ()
    batches: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.folder}/{{{', '.join(self.files)}}}"

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files."""
        return (*self.meta, *self.batches)


_BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
_BINARY_BATCHES = tuple(f"{name}.bin" for name in _BATCHES)
_BINARY_META = ("batches.meta.txt",)
_BINARY_SETS = ("train.bin", "test.bin")
_BINARY_NAMES = ("fine_label_names.txt", "coarse_label_names.txt")
IMAGES_ZIP = Layout("cifar10_images.zip")  # JPEG copies of CIFAR-10
LAYOUTS = {
    "cifar10": (
        Layout("cifar-10-python.tar.gz", "cifar-10-batches-py", ("batches.meta",), _BATCHES),
        Layout("cifar-10-binary.tar.gz", "cifar-10-batches-bin", _BINARY_META, _BINARY_BATCHES),
        IMAGES_ZIP,
    ),
    "cifar100": (
        Layout("cifar-100-python.tar.gz", "cifar-100-python", ("meta",), ("train", "test")),
        Layout("cifar-100-binary.tar.gz", "cifar-100-binary", _BINARY_NAMES, _BINARY_SETS),
    ),
}


@dataclasses.dataclass(frozen=True)
class Source:
    """Location of a data set: `path` is an archive or the unpacked folder."""

    path: str
    layout: Layout

    def locate(self, filename: str) -> str:
        """Returns the path of a file, `archive!folder/file` within an archive."""
        if os.path.isdir(self.path):
            return os.path.join(self.path, filename)
        return f"{self.path}!{self.layout.folder}/{filename}"


def find_source(name: str, data_dir: str) -> Source:
    """Finds the files: Python pickles before the binary version, archives before folders.

    Args:
        name: "cifar10", "cifar100" or "cifar100_coarse".
        data_dir: an archive, an unpacked folder, or a folder that contains one of these.

    Raises:
        InputError: nothing found, or a link out of `data_dir`.
    """
    dataset = name.removesuffix("_coarse")
    layouts = {layout.archive: layout for layout in LAYOUTS[dataset]}
    if os.path.isfile(data_dir):
        archive = os.path.basename(data_dir)
        if archive not in layouts:
            raise InputError(f"{data_dir}: not one of {', '.join(layouts)}; give it that name")
        return Source(data_dir, layouts[archive])

    for archive, layout in layouts.items():
        path = os.path.join(data_dir, archive)
        if os.path.isfile(path):
            return Source(refuse_link_out(path, data_dir), layout)
        path = os.path.join(data_dir, layout.folder)
        if layout.folder and os.path.isdir(path):
            return Source(refuse_link_out(path, data_dir), layout)
        if any(os.path.isfile(os.path.join(data_dir, name)) for name in layout.files):
            return Source(data_dir, layout)
    unpacked = [str(layout) for layout in layouts.values() if layout.folder]
    raise InputError(
        f"{data_dir}: no {dataset} here; --data_dir must hold {' or '.join(layouts)}, or unpacked "
        f"{' or '.join(unpacked)}; get it from {ADDRESS}, or give --download"
    )


def is_published(source: Source) -> bool:
    """Returns true for the published archive, byte for byte.

    An archive of another size counts as the user's own; if truncated or damaged, reading it fails,
    at the latest at gzip's checksum.

    Raises:
        InputError: an archive of the published size with another MD5 sum.
    """
    num_bytes, published_md5 = PUBLISHED[source.layout.archive]
    if os.path.isdir(source.path) or os.path.getsize(source.path) != num_bytes:
        return False
    with open(source.path, "rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    if md5 != published_md5:
        raise InputError(
            f"{source.path}: damaged, its MD5 sum is {md5} and not {published_md5}; fetch it again "
            f"from {ADDRESS}"
        )
    return True


def read_files(source: Source) -> dict[str, bytes]:
    """Maps the names of the layout's files to their content.

    Raises:
        InputError: a file that is missing, too large or a link out of the folder, or an archive
            that is damaged or unsafe.
    """
    layout = source.layout
    files = _from_folder(source) if os.path.isdir(source.path) else _from_tar(source)
    for name in layout.files:
        if name not in files:
            raise InputError(
                f"{source.path}: holds no {name}; the layout is {layout}; get {layout.archive} "
                f"from {ADDRESS}"
            )
    return files


def _from_folder(source: Source) -> dict[str, bytes]:
    files = {}
    for name in source.layout.files:
        path = os.path.join(source.path, name)
        if not os.path.isfile(path):
            continue
        refuse_link_out(path, source.path)
        files[name] = read_bytes(path, MAX_MEMBER_BYTES)
    return files


def _from_tar(source: Source) -> dict[str, bytes]:
    folder, archive = source.layout.folder, source.layout.archive
    members = {f"{folder}/{name}": name for name in source.layout.files}
    try:
        contents = tar_gz_members(source.path, members)
    except InputError as error:
        raise InputError(
            f"{error} (the published one has {PUBLISHED[archive][0]} bytes, this one "
            f"{os.path.getsize(source.path)}; {ADDRESS})"
        ) from None
    return {members[member]: content for member, content in contents.items()}
