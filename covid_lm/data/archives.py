"""Reading of untrusted archives without unpacking them, in bounded time and memory."""

import functools
import gzip
import io
import os
import posixpath
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Collection

from covid_lm.errors import InputError, UnusableFile, reason
from covid_lm.files import FILE_BYTES, check_file, is_remote, read_bytes

# The largest file of a supported data set, CIFAR-100's training pickle, has 155 MB.
MAX_MEMBER_BYTES = 2**29
MAX_ARCHIVE_BYTES, MAX_UNPACKED_BYTES = 2**32, 2**33
MAX_DIRECTORY_BYTES = 2**24  # of a zip: about 200,000 names
MAX_TAR_MEMBERS = 10_000
# Most bytes that a packed byte may become, once they are more than 16 MiB.
MAX_RATIO, RATIO_FROM = 200, 2**24

_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]")
_REMEDY = "not an archive to trust; fetch it again from where it was published"
_ENCRYPTED = 0x41  # bits of a zip member's flags
_READ_ERRORS = (OSError, EOFError, RuntimeError, ValueError, struct.error, zlib.error)


def zip_members(path: str) -> dict[str, Callable[[], bytes]]:
    """Maps the names of a zip's files, in its order, to functions that read them.

    The functions raise UnusableFile for a damaged member.

    Raises:
        FileNotFoundError: no such zip.
        InputError: not a zip; a name that leads out of it or isn't text, a link, a file above
            256 MiB, encrypted, or packed in another way than stored and deflated; or members that
            overlap or unpack to far more bytes than they have.
    """
    check_file(path, MAX_ARCHIVE_BYTES)
    file = _Remote(read_bytes(path)) if is_remote(path) else _Local(path)
    try:
        archive = zipfile.ZipFile(file)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: holds {error.object!r}, no UTF-8 name; {_REMEDY}") from None
    except NotImplementedError:
        name = _newer_member(file.directory)
        raise InputError(f"{path}: holds {name!r}, of a newer zip version; {_REMEDY}") from None
    except (zipfile.BadZipFile, *_READ_ERRORS):
        raise InputError(f"{path}: not a zip, or cut short; fetch it again") from None
    file.largest_read, file.directory = MAX_MEMBER_BYTES, b""
    num_bytes = file.seek(0, os.SEEK_END)
    for member in archive.infolist():
        kind = stat.S_IFMT(member.external_attr >> 16)
        is_special = kind not in (0, stat.S_IFREG, stat.S_IFDIR)
        _refuse_unsafe(path, member.filename, is_special, member.file_size, FILE_BYTES)
        _refuse_packing(path, member)
    if sum(member.compress_size for member in archive.infolist()) > num_bytes:
        raise InputError(f"{path}: its files overlap; {_REMEDY}")
    if sum(member.file_size for member in archive.infolist()) > MAX_UNPACKED_BYTES:
        raise InputError(f"{path}: unpacks to more than {MAX_UNPACKED_BYTES} bytes; {_REMEDY}")
    return {
        member.filename: functools.partial(_read_member, archive, path, member)
        for member in archive.infolist()
        if not member.is_dir()
    }


class _BoundedReads:
    """A file whose reads are bounded, for `zipfile` believes the sizes in an archive.

    Attributes:
        directory: the content that was read last, until that is the archive's directory.
    """

    largest_read = MAX_DIRECTORY_BYTES
    directory = b""

    def read(self, size: int = -1) -> bytes:
        if size > self.largest_read:
            raise zipfile.BadZipFile
        # Without a size, the end of an archive is read, where its comment of at most 64 KiB is.
        content = super().read(2**17 if size < 0 else size)  # type: ignore[misc]
        if self.largest_read == MAX_DIRECTORY_BYTES:
            self.directory = content
        return content


class _Local(_BoundedReads, io.FileIO):  # type: ignore[misc]
    def __del__(self) -> None:
        self.close()  # open as long as a record can be read; otherwise Python warns


class _Remote(_BoundedReads, io.BytesIO):  # type: ignore[misc]
    pass


def _newer_member(directory: bytes) -> str:
    """The first name in a zip's directory that `zipfile` says to be of a newer version."""
    start, version, name = 0, 0, b""
    while start + 46 <= len(directory) and version <= 63:
        version, *lengths = struct.unpack_from("<6xB21x3H", directory, start)
        name = directory[start + 46 :][: lengths[0]]
        start += 46 + sum(lengths)
    return name.decode("utf-8", "backslashreplace")


def _refuse_packing(path: str, member: zipfile.ZipInfo) -> None:
    held = f"{path}: holds {member.filename!r}"
    if member.flag_bits & _ENCRYPTED:
        raise InputError(f"{held}, which is encrypted; unpack it and pack it without a password")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(
            f"{held}, packed by method {member.compress_type}; pack it again as an ordinary zip"
        )
    if member.file_size > max(RATIO_FROM, MAX_RATIO * member.compress_size):
        raise InputError(
            f"{held}, which unpacks {member.compress_size} bytes to {member.file_size}; {_REMEDY}"
        )


def _read_member(archive: zipfile.ZipFile, path: str, member: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(member) as file:
            # A size must be given, or else a false one in the archive is no limit.
            return file.read(member.file_size)
    except (zipfile.BadZipFile, *_READ_ERRORS) as error:
        problem = f"holds {member.filename!r}, which is damaged ({reason(error)}); fetch it again"
        raise UnusableFile(path, problem) from None


def tar_gz_members(path: str, wanted: Collection[str]) -> dict[str, bytes]:
    """Maps the names of the wanted files of a tar.gz to their content, in its order.

    The archive is always read to the checksum at its end.

    Raises:
        InputError: a damaged or truncated archive, a wanted file that occurs twice, a name that
            leads out of the archive or isn't text, a link or device, a file above 512 MiB, or an
            archive that unpacks to far more bytes than it has.
    """
    check_file(path, MAX_ARCHIVE_BYTES)
    limit = min(max(RATIO_FROM, MAX_RATIO * os.path.getsize(path)), MAX_UNPACKED_BYTES)
    contents: dict[str, bytes] = {}
    place = ""
    try:
        with gzip.open(path) as file:
            stream = _BoundedStream(file, limit)
            with tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[call-overload]
                for number, member in enumerate(archive):
                    place = f" at {member.name!r}"
                    if number == MAX_TAR_MEMBERS:
                        raise InputError(
                            f"{path}: holds more than {MAX_TAR_MEMBERS} files; {_REMEDY}"
                        )
                    _add_if_wanted(path, archive, member, wanted, contents)
            while stream.read(2**20):
                pass
    except _TooLarge:
        raise InputError(f"{path}: unpacks to too many bytes{place}; {_REMEDY}") from None
    except InputError:
        raise
    except (tarfile.TarError, *_READ_ERRORS):
        problem = f"not a tar.gz, damaged or cut short{place}; fetch it again"
        raise InputError(f"{path}: {problem}") from None
    return contents


def _add_if_wanted(
    path: str,
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    wanted: Collection[str],
    contents: dict[str, bytes],
) -> None:
    is_special = not (member.isreg() or member.isdir()) or member.issparse()
    _refuse_unsafe(path, member.name, is_special, member.size, MAX_MEMBER_BYTES)
    name = posixpath.normpath(member.name)
    file = archive.extractfile(member)  # None for a folder
    if name not in wanted or file is None:
        return
    if name in contents:
        raise InputError(f"{path}: holds {name} twice; fetch it again")
    contents[name] = file.read()


class _TooLarge(Exception):
    pass


class _BoundedStream:
    """The part of a file that `tarfile` uses, bounded, for `tarfile` believes an archive's sizes.

    Args:
        limit: most bytes that may be read from it.
    """

    def __init__(self, file: gzip.GzipFile, limit: int):
        self._file, self._limit, self._reads_at_end = file, limit, 0

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_MEMBER_BYTES or self.tell() + size > self._limit + 2**20:
            raise _TooLarge
        content = self._file.read(size)
        # `tarfile` may look for the end of a sparse file's map for ever.
        self._reads_at_end += not content and size > 0
        if self._reads_at_end > 3:
            raise EOFError
        return content

    def seek(self, position: int) -> int:
        if not 0 <= position <= self._limit:
            raise _TooLarge
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()


def _refuse_unsafe(path: str, name: str, is_special: bool, size: int, largest: int) -> None:
    if _ABSOLUTE.match(name) or ".." in re.split(r"[/\\]", name):
        raise InputError(f"{path}: holds {name!r}, which leads out of it; {_REMEDY}")
    if not name.isascii() and name != name.encode("utf-8", "replace").decode():
        raise InputError(f"{path}: holds {name!r}, no UTF-8 name; {_REMEDY}")
    if is_special:
        raise InputError(f"{path}: holds {name!r}, a link or device; {_REMEDY}")
    if not 0 <= size <= largest:
        raise InputError(f"{path}: holds {name!r} of {size} bytes; {_REMEDY}")
