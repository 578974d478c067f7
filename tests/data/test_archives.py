import io
import pathlib
import stat
import tarfile
import zipfile

import pytest

from covid_lm.data import archives as untrusted_files
from covid_lm.data.archives import tar_gz_members, zip_members
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


def test_huge_files_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(untrusted_files, "MAX_MEMBER_BYTES", 10)
    path = tar_gz(tmp_path / "a.tar.gz", ("d/a", bytes(11)))
    with pytest.raises(InputError, match="holds 'd/a' of 11 bytes; not an archive to trust"):
        tar_gz_members(path, {"d/a"})
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("d/a", bytes(11))
    with pytest.raises(InputError, match=r"a.zip: holds 'd/a' of 11 bytes"):
        zip_members(str(tmp_path / "a.zip"))


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
