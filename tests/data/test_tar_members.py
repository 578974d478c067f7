"""Tars: their members, and hostile tars that are refused in bounded time and memory."""

import contextlib
import gzip
import io
import pathlib
import random
import tarfile

import pytest

from covid_lm.data import archives
from covid_lm.data.archives import tar_gz_members
from covid_lm.errors import InputError

UNSAFE_NAMES = ["../x", "a/../../x", "/etc/x", "a\\..\\x", "\\x", "C:\\x", "c:/x"]


def tar_gz(path: pathlib.Path, *members: tuple[tarfile.TarInfo | str, bytes]) -> str:
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return str(path)


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_wanted_files_of_a_tar(tmp_path):
    path = tar_gz(tmp_path / "a.tar.gz", ("./d/b..c", b"2"), ("d/other", b"3"), ("d/a", b"1"))
    members = tar_gz_members(path, {"d/a", "d/b..c"})
    assert list(members.items()) == [("d/b..c", b"2"), ("d/a", b"1")]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.tar.gz"]


@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_a_tar_whose_names_lead_out(tmp_path, name):
    path = tar_gz(tmp_path / "a.tar.gz", (name, b"1"))
    with pytest.raises(InputError) as caught:
        tar_gz_members(path, {"d/a"})
    assert str(caught.value) == (
        f"{path}: holds {name!r}, which leads out of it; not an archive to trust; fetch it again "
        "from where it was published"
    )


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.SYMTYPE, "b"),
        (tarfile.LNKTYPE, "b"),
        (tarfile.FIFOTYPE, ""),
        (tarfile.CHRTYPE, ""),
    ],
)
def test_a_tar_with_links_or_devices(tmp_path, kind, target):
    path = tar_gz(tmp_path / "a.tar.gz", (special("d/a", kind, target), b""))
    with pytest.raises(InputError, match="holds 'd/a', a link or device; not an archive to trust"):
        tar_gz_members(path, {"d/a"})


def test_a_tar_that_is_damaged(tmp_path):
    path = pathlib.Path(tar_gz(tmp_path / "a.tar.gz", ("d/a", bytes(range(256)) * 40)))
    whole = path.read_bytes()
    # The last is gzip's checksum, after all wanted files.
    flipped = whole[:-6] + bytes([whole[-6] ^ 1]) + whole[-5:]
    for content in (b"", b"no gzip", whole[:60], whole[: len(whole) // 2], whole[:-1], flipped):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a.tar.gz: not a tar.gz, damaged or cut short"):
            tar_gz_members(str(path), {"d/a"})


def test_a_tar_that_holds_a_file_twice(tmp_path):
    path = tar_gz(tmp_path / "a.tar.gz", ("d/a", b"1"), ("./d/a", b"2"))
    with pytest.raises(InputError, match="holds d/a twice"):
        tar_gz_members(path, {"d/a"})


def headers(path: pathlib.Path, *members: tarfile.TarInfo, data: bytes = b"") -> str:
    """A tar.gz of headers, without the data that they promise."""
    path.write_bytes(gzip.compress(b"".join(member.tobuf() for member in members) + data))
    return str(path)


def sized(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    member = special(name, kind)
    member.size = size
    return member


def test_huge_files_of_a_tar_are_not_read(tmp_path):
    for size in (2**29 + 1, 2**40, -512):
        path = headers(tmp_path / "a.tar.gz", sized("d/a", size))
        with pytest.raises(InputError, match=f"holds 'd/a' of {size} bytes; not an archive to tru"):
            tar_gz_members(path, {"d/a"})
    # The name of the next member is a gigabyte long.
    for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE):
        path = headers(tmp_path / "a.tar.gz", sized("d/b", 5), data=bytes(512))
        path = headers(tmp_path / "a.tar.gz", sized("d/b", 0), sized("d/a", 2**30, kind))
        with pytest.raises(InputError, match=r"unpacks to too many bytes at 'd/b'; not an archive"):
            tar_gz_members(path, {"d/a"})


def test_a_tar_bomb(tmp_path):
    """100 files of a megabyte of zeros, gzipped to 100 kB, of which none is wanted."""
    path = tar_gz(tmp_path / "a.tar.gz", *((f"d/{n}", bytes(2**20)) for n in range(100)))
    with pytest.raises(InputError, match=r"unpacks to too many bytes at 'd/\d+'; not an archive"):
        tar_gz_members(path, {"d/a"})


def test_a_tar_of_very_many_files(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_TAR_MEMBERS", 3)
    names = "abcd"
    assert len(tar_gz_members(tar_gz(tmp_path / "a", *((n, b"") for n in "abc")), names)) == 3
    with pytest.raises(InputError, match="holds more than 3 files; not an archive to trust"):
        tar_gz_members(tar_gz(tmp_path / "a", *((n, b"") for n in names)), names)


@pytest.mark.parametrize(
    "members",
    [
        [special("d/a", tarfile.GNUTYPE_LONGNAME)] * 3000,  # each names the next
        [sized("d/a", -5, tarfile.XHDTYPE)],
        [sized("d/a", 2**20, tarfile.GNUTYPE_LONGNAME)],
    ],
)
def test_a_tar_with_hostile_headers(tmp_path, members):
    path = headers(tmp_path / "a.tar.gz", *members)
    with pytest.raises(InputError, match=r"^\S+a.tar.gz: [^\n]+$"):
        tar_gz_members(path, {"d/a"})


def test_a_tar_whose_sparse_map_has_no_end(tmp_path):
    pax = b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n"
    path = headers(
        tmp_path / "a.tar.gz",
        sized("d/x", len(pax), tarfile.XHDTYPE),
        data=pax.ljust(512, b"\0") + sized("d/a", 512).tobuf() + b"999999999\n".ljust(512, b"1"),
    )
    with pytest.raises(InputError, match=r"not a tar.gz, damaged or cut short"):
        tar_gz_members(path, {"d/a"})


def test_a_tar_with_a_name_that_is_not_utf_8(tmp_path):
    member = tarfile.TarInfo("d/\udce9")
    path = tar_gz(tmp_path / "a.tar.gz", (member, b"1"))
    with pytest.raises(InputError, match=r"holds 'd/\\udce9', no UTF-8 name; not an archive to"):
        tar_gz_members(path, {"d/a"})


def test_every_damaged_byte_of_a_tar_is_refused_or_harmless(tmp_path):
    path = tmp_path / "a.tar.gz"
    content = pathlib.Path(tar_gz(path, ("d/a", b"first"), ("d/b", b"second"))).read_bytes()
    generator = random.Random(0)
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= generator.randrange(1, 256)
        path.write_bytes(damaged)
        with contextlib.suppress(InputError):
            assert tar_gz_members(str(path), {"d/a"}) == {"d/a": b"first"}
