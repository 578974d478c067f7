"""Reading of untrusted archives without unpacking them."""

import functools
import gzip
import io
import posixpath
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection

from covid_lm.errors import InputError
from covid_lm.files import is_remote, read_bytes

# The largest file of a supported data set, CIFAR-100's training pickle, has 155 MB.
MAX_MEMBER_BYTES = 2**29

_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]")


def zip_members(path: str) -> dict[str, Callable[[], bytes]]:
    """Maps the names of a zip's files, in its order, to functions that read them.

    Raises:
        FileNotFoundError: no such zip.
        InputError: not a zip, a name that leads out of it, a link, or a file above 512 MiB.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(read_bytes(path)) if is_remote(path) else path)
    except zipfile.BadZipFile:
        raise InputError(f"{path}: not a zip, or cut short; fetch it again") from None
    for member in archive.infolist():
        is_link = stat.S_ISLNK(member.external_attr >> 16)
        _refuse_unsafe(path, member.filename, is_link, member.file_size)
    names = [name for name in archive.namelist() if not name.endswith("/")]
    return {name: functools.partial(archive.read, name) for name in names}


def tar_gz_members(path: str, wanted: Collection[str]) -> dict[str, bytes]:
    """Maps the names of the wanted files of a tar.gz to their content, in its order.

    The archive is always read to the checksum at its end.

    Raises:
        InputError: a damaged or truncated archive, a wanted file that occurs twice, a name that
            leads out of the archive, a link or device, or a file above 512 MiB.
    """
    contents: dict[str, bytes] = {}
    try:
        with gzip.open(path) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            for member in archive:
                is_special = not (member.isreg() or member.isdir())
                _refuse_unsafe(path, member.name, is_special, member.size)
                name = posixpath.normpath(member.name)
                file = archive.extractfile(member)  # None for a folder
                if name not in wanted or file is None:
                    continue
                if name in contents:
                    raise InputError(f"{path}: holds {name} twice; fetch it again")
                contents[name] = file.read()
            while stream.read(2**20):
                pass
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError(f"{path}: not a tar.gz, damaged or cut short; fetch it again") from None
    return contents


def _refuse_unsafe(path: str, name: str, is_special: bool, size: int) -> None:
    remedy = "not an archive to trust; fetch it again from where it was published"
    if _ABSOLUTE.match(name) or ".." in re.split(r"[/\\]", name):
        raise InputError(f"{path}: holds {name!r}, which leads out of it; {remedy}")
    if is_special:
        raise InputError(f"{path}: holds {name!r}, a link or device; {remedy}")
    if size > MAX_MEMBER_BYTES:
        raise InputError(f"{path}: holds {name!r} of {size} bytes; {remedy}")
