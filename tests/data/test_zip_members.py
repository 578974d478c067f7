"""Zips: their members, and hostile zips that are refused in bounded time and memory."""

import contextlib
import copy
import pathlib
import random
import stat
import tracemalloc
import zipfile

import pytest

from covid_lm.data import archives
from covid_lm.data.archives import zip_members
from covid_lm.errors import InputError, UnusableFile
from tests.data.test_tar_members import UNSAFE_NAMES


def test_files_of_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.mkdir("d")
        archive.writestr("d/b..c 1%0.png", b"1")
    members = zip_members(str(tmp_path / "a.zip"))
    assert {name: read() for name, read in members.items()} == {"d/b..c 1%0.png": b"1"}


@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_a_zip_whose_names_lead_out(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"1")
    with pytest.raises(InputError, match=r"a.zip: holds .*, which leads out of it"):
        zip_members(str(tmp_path / "a.zip"))


def test_a_zip_with_a_link(tmp_path):
    link = zipfile.ZipInfo("d/a")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InputError, match=r"a.zip: holds 'd/a', a link or device"):
        zip_members(str(tmp_path / "a.zip"))


def zipped(path: pathlib.Path, content: bytes, *changes: tuple[bytes, bytes], **options) -> str:
    """A zip of `d/a` and `d/b`, with bytes replaced."""
    with zipfile.ZipFile(path, "w", **options) as archive:
        archive.writestr("d/a", b"first")
        archive.writestr("d/b", content)
    packed = path.read_bytes()
    for before, after in changes:
        assert packed.count(before)
        packed = packed.replace(before, after)
    path.write_bytes(packed)
    return str(path)


STORED = b"PK\1\2\x14\3\x14\0\0\0\0\0"  # of both files, from signature to method
TRUST = "not an archive to trust; fetch it again from where it was published"


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"\x14\0\1\0\0\0", "which is encrypted; unpack it and pack it without a password"),
        (b"\x14\0\0\0\x63\0", "packed by method 99; pack it again as an ordinary zip"),
        (b"\x14\0\0\0\x0e\0", "packed by method 14; pack it again as an ordinary zip"),
        (b"\x63\0\0\0\0\0", f"of a newer zip version; {TRUST}"),
    ],
    ids=["encrypted", "unknown method", "LZMA", "version 9.9"],
)
def test_a_zip_that_needs_more_than_is_known(tmp_path, header, problem):
    path = zipped(tmp_path / "a.zip", b"second", (STORED, STORED[:6] + header))
    with pytest.raises(InputError) as error:
        zip_members(path)
    assert str(error.value) == f"{path}: holds 'd/a', {problem}"


def test_a_zip_with_a_name_that_is_not_utf_8(tmp_path):
    header = b"\x14\0\0\x08\0\0"
    changes = ((STORED, STORED[:6] + header), (b"d/b", b"d/\xe9"))
    path = zipped(tmp_path / "a.zip", b"second", *changes)
    with pytest.raises(InputError) as error:
        zip_members(path)
    assert str(error.value) == f"{path}: holds b'd/\\xe9', no UTF-8 name; {TRUST}"


def test_a_zip_bomb(tmp_path, monkeypatch):
    path = zipped(tmp_path / "a.zip", bytes(2**25), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(
        InputError, match=r"holds 'd/b', which unpacks \d{5} bytes to 33554432; not"
    ):
        zip_members(path)
    path = zipped(tmp_path / "a.zip", bytes(2**21))
    monkeypatch.setattr(archives, "MAX_UNPACKED_BYTES", 2**21)
    with pytest.raises(InputError, match=r"a.zip: unpacks to more than 2097152 bytes; not an arch"):
        zip_members(path)
    monkeypatch.setattr(archives, "FILE_BYTES", 2**21 - 1)
    with pytest.raises(InputError, match=r"a.zip: holds 'd/b' of 2097152 bytes; not an archive to"):
        zip_members(path)


def test_a_zip_whose_files_overlap(tmp_path):
    """Both names lead to the same packed bytes, as in a bomb that is not nested (Fifield 2019)."""
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("d/a", bytes(10**5))
        for number in range(30):
            twin = copy.copy(archive.filelist[0])
            twin.filename = f"d/{number}"
            archive.filelist.append(twin)
    with pytest.raises(InputError) as error:
        zip_members(str(path))
    assert str(error.value) == f"{path}: its files overlap; {TRUST}"


def test_a_zip_whose_sizes_are_false(tmp_path):
    """The directory says 100 bytes for a file of 16 MB: reading it takes no more than 100."""
    content = bytes(2**24)
    size, false = (2**24).to_bytes(4, "little"), (100).to_bytes(4, "little")
    path = zipped(tmp_path / "a.zip", content, (size, false), compression=zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    try:
        with pytest.raises(UnusableFile) as error:
            zip_members(path)["d/b"]()
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert str(error.value) == (
        f"{path}: holds 'd/b', which is damaged (Bad CRC-32 for file 'd/b'); fetch it again"
    )


def test_a_zip_whose_directory_is_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(archives._BoundedReads, "largest_read", 50)
    path = zipped(tmp_path / "a.zip", b"second")
    with pytest.raises(InputError, match=r"a.zip: not a zip, or cut short; fetch it again"):
        zip_members(path)


def test_every_damaged_byte_of_a_zip_is_refused_or_harmless(tmp_path):
    path = zipped(tmp_path / "a.zip", b"second" * 9, compression=zipfile.ZIP_DEFLATED)
    content = pathlib.Path(path).read_bytes()
    generator = random.Random(0)
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= generator.randrange(1, 256)
        pathlib.Path(path).write_bytes(damaged)
        with contextlib.suppress(InputError):
            for read in zip_members(path).values():
                assert read() in (b"first", b"second" * 9)
