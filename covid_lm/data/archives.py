"""Reading of untrusted archives and folders without unpacking or leaving them."""

import gzip
import os
import posixpath
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator

from covid_lm.errors import InputError

# The largest file of a supported data set, CIFAR-100's training pickle, has 155 MB.
MAX_MEMBER_BYTES = 2**29

_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]")


def refuse_link_out(path: str, root: str) -> str:
    """Returns the path, after checking that no link leads out of the folder `root`.

    `root` itself may be a link.

    Raises:
        InputError: a link leads out of it.
    """
    real_root = os.path.realpath(root)
    if os.path.commonpath([real_root, os.path.realpath(path)]) != real_root:
        raise InputError(f"{path}: a link out of {root}; put the file itself there")
    return path


def zip_members(archive: zipfile.ZipFile) -> list[str]:
    """Returns the names of a zip's files, in its order.

    Raises:
        InputError: a name that leads out of the archive, a link, or a file above 512 MiB.
    """
    names = []
    for member in archive.infolist():
        mode = member.external_attr >> 16
        is_link = stat.S_ISLNK(mode)
        _refuse_unsafe(str(archive.filename), member.filename, is_link, member.file_size)
        if not member.is_dir():
            names.append(member.filename)
    return names


def tar_gz_members(path: str, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Yields name and content of the wanted files of a tar.gz, in its order, in one pass.

    The archive is always read to the checksum at its end.

    Raises:
        InputError: a damaged or truncated archive, a wanted file that occurs twice, a name that
            leads out of the archive, a link or device, or a file above 512 MiB.
    """
    seen = set()
    try:
        with gzip.open(path) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                is_special = not (member.isreg() or member.isdir())
                _refuse_unsafe(path, member.name, is_special, member.size)
                name = posixpath.normpath(member.name)
                file = archive.extractfile(member)  # None for a folder
                if name not in wanted or file is None:
                    continue
                if name in seen:
                    raise InputError(f"{path}: holds {name} twice; fetch it again")
                seen.add(name)
                yield name, file.read()
            while stream.read(2**20):
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError(f"{path}: not a tar.gz, damaged or cut short; fetch it again") from None


def _refuse_unsafe(path: str, name: str, is_special: bool, size: int) -> None:
    remedy = "not an archive to trust; fetch it again from where it was published"
    if _ABSOLUTE.match(name) or ".." in re.split(r"[/\\]", name):
        raise InputError(f"{path}: holds {name!r}, which leads out of it; {remedy}")
    if is_special:
        raise InputError(f"{path}: holds {name!r}, a link or device; {remedy}")
    if size > MAX_MEMBER_BYTES:
        raise InputError(f"{path}: holds {name!r} of {size} bytes; {remedy}")
