"""Files that must not be opened or read, wherever they come from."""

import os
import pathlib
import socket

import pytest

from covid_lm import files
from covid_lm.data.records import ImageRecord, read_image, read_problem
from covid_lm.errors import InputError, UnusableFile
from covid_lm.serving.predict import Prediction, image_files, in_batches


def fifo(path: pathlib.Path) -> None:
    os.mkfifo(path)


def unix_socket(path: pathlib.Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(path.parent)  # the path of a socket has 107 bytes at most
        server.bind(path.name)


def device(path: pathlib.Path) -> None:
    path.symlink_to("/dev/zero")


def sparse(path: pathlib.Path) -> None:
    path.write_bytes(bytes(range(256)) * 2000)
    os.truncate(path, 2**21)


def huge(path: pathlib.Path) -> None:
    path.touch()
    os.truncate(path, 2**40)


PROBLEMS = {
    fifo: "not a regular file (a FIFO)",
    unix_socket: "not a regular file (a socket)",
    device: "not a regular file (a device)",
    pathlib.Path.mkdir: "not a regular file (a directory, or a link to one)",
    sparse: "sparse: holds fewer than half of its 2097152 bytes",
    huge: "too large (1099511627776 bytes; at most 268435456 are read)",
}


@pytest.fixture(params=PROBLEMS, ids=lambda make: make.__name__)
def unusable(request, tmp_path, monkeypatch) -> tuple[str, str]:
    """A path and the problem with it."""
    monkeypatch.chdir(tmp_path)
    request.param(tmp_path / "x")
    return str(tmp_path / "x"), PROBLEMS[request.param]


def test_it_is_refused_without_being_read(unusable):
    path, problem = unusable
    for read in (files.check_file, files.read_bytes):
        with pytest.raises(UnusableFile) as error:
            read(path)
        assert str(error.value) == f"{path}: {problem}"
        assert isinstance(error.value, InputError)  # exit status 2
    with pytest.raises(UnusableFile), files.local_copy(path):
        pass


def test_as_an_image_it_is_one_that_cannot_be_read(unusable):
    path, problem = unusable
    record = ImageRecord("x", 0, "test", path, lambda: files.read_bytes(path))
    assert read_image(record) == b""
    assert read_problem(record) == problem
    assert list(in_batches([path], lambda batch: [], 4)) == [Prediction(path, error=problem)]


def test_a_linked_folder_is_a_file_that_cannot_be_read(tmp_path):
    for name in ("images/a.png", "outside/b.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    (tmp_path / "images" / "more").symlink_to(tmp_path / "outside")
    paths = files.files_below(str(tmp_path / "images"))
    assert paths == [f"{tmp_path}/images/a.png", f"{tmp_path}/images/more"]
    problem = "not a regular file (a directory, or a link to one)"
    assert list(in_batches(paths[1:], lambda batch: [], 4)) == [Prediction(paths[1], error=problem)]
    with pytest.raises(UnusableFile, match=r"images/more: a link out of \S+images; put the file"):
        image_files([str(tmp_path / "images")])


def test_the_limit_is_the_callers(tmp_path):
    path = str(tmp_path / "x")
    pathlib.Path(path).write_bytes(bytes(100))
    assert files.read_bytes(path, 100) == bytes(100)
    with pytest.raises(UnusableFile, match=r"too large \(100 bytes; at most 99 are read\)$"):
        files.read_bytes(path, 99)
    assert files.FILE_BYTES == 256 * 2**20


def test_links_out_of_a_folder(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "root_2"
    for directory in (root, outside):
        directory.mkdir()
        (directory / "x").write_text("x")
    (root / "inside").symlink_to("x")
    (root / "out").symlink_to(outside / "x")
    (root / "directory").symlink_to(outside)
    (tmp_path / "root_link").symlink_to(root)
    assert files.refuse_link_out(str(root / "inside"), str(root)) == str(root / "inside")
    assert files.refuse_link_out(str(root / "absent"), str(root)) == str(root / "absent")
    through = tmp_path / "root_link"
    assert files.refuse_link_out(str(through / "x"), str(through)) == str(through / "x")
    for path in (root / "out", root / "directory" / "x"):
        with pytest.raises(InputError, match=f"{path}: a link out of {root}; put the file itself"):
            files.refuse_link_out(str(path), str(root))


def test_a_file_with_a_small_hole_is_read(tmp_path):
    with open(tmp_path / "x", "wb") as file:
        file.write(os.urandom(2**20))
        file.seek(2**18, os.SEEK_CUR)
        file.write(b"end")
    assert len(files.read_bytes(str(tmp_path / "x"))) == 2**20 + 2**18 + 3


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "Expecting value: line 1 column 1 (char 0)"),
        (b"[1, 2]", "list"),
        (b"null", "NoneType"),
        (b'{"\xff": 1}', "'utf-8' codec can't decode byte 0xff in position 2"),
        (b'{"a": ' * 10**5, "maximum recursion depth exceeded"),
        (b'{"a": ' + b"9" * 5000 + b"}", "Exceeds the limit (4300 digits)"),
    ],
)
def test_a_damaged_config_is_named(tmp_path, content, problem):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(UnusableFile) as error:
        files.read_json(str(path))
    assert str(error.value).startswith(f"{path}: damaged, not a JSON object ({problem}")
    assert str(error.value).endswith("); restore it")
    path.write_bytes(b'{"a": 1}')
    assert files.read_json(str(path)) == {"a": 1}
