"""Published data sets are downloaded whole and checked, from a local server."""

import functools
import hashlib
import os
import pathlib
import threading

import pytest

import covid_lm
from covid_lm.data import download, load_dataset
from covid_lm.data.cifar_files import PUBLISHED
from covid_lm.data.covid_ct import covid_ct
from covid_lm.data.reading import Reading
from covid_lm.errors import InputError, RunError
from covid_lm.files import files_below
from covid_lm.training.data_options import DataOptions
from tests.data import cifar_samples
from tests.file_server import FileServer, serving

DOWNLOAD = Reading(download=True)
ARCHIVE = "cifar-10-python.tar.gz"
ZIP = "Images-processed/CT_COVID.zip"


@pytest.fixture
def server(monkeypatch):
    server = FileServer()
    with serving(server):
        monkeypatch.setenv("COVID_LM_MIRROR", f"{server.url}/")
        monkeypatch.setattr(download, "FIRST_PAUSE", 0.0)
        monkeypatch.setattr(download, "_CHUNK_BYTES", 500)
        yield server


@pytest.fixture
def covid_files(server, small_copy, monkeypatch) -> dict[str, bytes]:
    """A small COVID-CT on the server, as if it were the published one."""
    (small_copy / "COVID-CT-MetaInfo.csv").rename(small_copy / "COVID-CT-MetaInfo.xlsx")
    paths = [file.path for file in download.published_files("covid_ct")]
    server.files = {path: (small_copy / path).read_bytes() for path in paths}
    published = download.published_files

    def files(name: str) -> list[download.PublishedFile]:
        digests = {path: hashlib.sha256(data).hexdigest() for path, data in server.files.items()}
        return [file._replace(digest=digests[file.path]) for file in published(name)]

    monkeypatch.setattr(download, "published_files", files)
    return dict(server.files)


@pytest.fixture
def archive(server, tmp_path, monkeypatch) -> bytes:
    """A small CIFAR-10 on the server, as if it were the published one."""
    files = cifar_samples.python_files("cifar10")
    cifar_samples.write_tar_gz(tmp_path / ARCHIVE, "cifar-10-batches-py", files)
    content = (tmp_path / ARCHIVE).read_bytes()
    server.files[ARCHIVE] = content
    published = (len(content), hashlib.md5(content).hexdigest())
    monkeypatch.setitem(PUBLISHED, ARCHIVE, published)
    return content


def below(folder) -> dict[str, bytes]:
    paths = files_below(str(folder))
    return {os.path.relpath(path, folder): pathlib.Path(path).read_bytes() for path in paths}


def the_line(error, name, folder) -> str:
    with pytest.raises(error) as caught:
        download.download(name, str(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_digests_are_those_of_the_published_files(covid_ct_dir):
    files = download.published_files("covid_ct")
    assert len(files) == 10
    for file in files:
        assert file.digest_of(os.path.join(covid_ct_dir, file.path)) == file.digest, file.path
    download.download("covid_ct", covid_ct_dir)  # nothing is missing


def test_the_public_addresses():
    assert {
        file.address.partition(file.path)[0] for file in download.published_files("covid_ct")
    } == {"https://raw.githubusercontent.com/UCSD-AI4H/COVID-CT/master/"}
    assert download.published_files("cifar100_coarse") == [
        (
            "cifar-100-python.tar.gz",
            "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
            "md5",
            "eb9058c3a382ffc7106e4002c42a8d85",
        )
    ]


def test_covid_ct_as_published(server, covid_files, tmp_path, capsys):
    folder = tmp_path / "data" / "covid_ct"
    download.download("covid_ct", str(folder))
    assert below(folder) == covid_files
    assert capsys.readouterr().out.count("downloaded: ") == 10
    server.requests.clear()
    download.download("covid_ct", str(folder))
    assert server.requests == []
    os.remove(folder / ZIP)
    download.download("covid_ct", str(folder))
    assert server.requests == [f"GET {ZIP}"]
    assert below(folder) == covid_files


def test_cifar_is_read_after_its_download(archive, tmp_path):
    dataset = load_dataset("cifar10", str(tmp_path / "new"), DOWNLOAD)
    assert dataset.name == "cifar10"  # and not "(files not verified)"
    assert len(dataset.records) == 60


def test_the_python_interface_downloads(archive, tmp_path):
    dataset = covid_lm.load_dataset("cifar10", tmp_path / "new", download=True)
    assert len(dataset.split("test")) == 10
    with pytest.raises(InputError, match="--download: only with --dataset=covid_ct or cifar10"):
        covid_lm.load_dataset("phantom", download=True)


def test_another_version_of_cifar_will_do(server, tmp_path):
    files = cifar_samples.binary_files("cifar10")
    cifar_samples.write_folder(tmp_path / "cifar-10-batches-bin", files)
    load_dataset("cifar10", str(tmp_path), DOWNLOAD)
    assert server.requests == []


def test_a_file_with_other_content_is_kept(server, covid_files, tmp_path):
    path = tmp_path / "covid" / "NonCOVID-CT-MetaInfo.csv"
    path.parent.mkdir()
    path.write_text("my notes")
    assert the_line(InputError, "covid_ct", path.parent).startswith(
        f"{path}: not the published file, which has the SHA256 sum "
    )
    assert below(path.parent) == {path.name: b"my notes"}
    assert server.requests == []


def test_an_answer_that_is_cut_is_continued(server, archive, tmp_path):
    server.cut[ARCHIVE] = 1000, False
    download.download("cifar10", str(tmp_path / "new"))
    assert below(tmp_path / "new") == {ARCHIVE: archive}
    assert server.requests == [f"GET {ARCHIVE}", f"GET {ARCHIVE} bytes=1000-"]


def test_a_server_that_starts_again(server, archive, tmp_path, monkeypatch):
    server.cut[ARCHIVE], server.ranges = (1000, False), False
    download.download("cifar10", str(tmp_path / "new"))
    assert below(tmp_path / "new") == {ARCHIVE: archive}


def test_an_answer_that_stays_cut(server, archive, tmp_path):
    server.cut[ARCHIVE] = 1000, True
    line = the_line(RunError, "cifar10", tmp_path / "new")
    assert line.startswith(
        f"{server.url}/{ARCHIVE}: broke off 5 times, the last time at 1000 bytes ("
    )
    assert not (tmp_path / "new").exists()


def test_another_file_than_the_published_one(server, archive, tmp_path):
    server.files[ARCHIVE] = archive[:-1] + b"x"
    line = the_line(RunError, "cifar10", tmp_path / "new")
    assert line.startswith(f"{server.url}/{ARCHIVE}: not the published file, its MD5 sum is ")
    assert not (tmp_path / "new").exists()


def test_an_endless_file(server, archive, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "FILE_BYTES", len(archive) - 1)
    assert "more than" in the_line(RunError, "cifar10", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("status", "attempts", "text"),
    [
        (404, 1, "HTTP 404 Not Found; get the file elsewhere"),
        (429, 5, "HTTP 429 Too Many Requests; try again later"),
        (503, 5, "HTTP 503 Service Unavailable; try again later"),
    ],
)
def test_each_refusal_of_the_server_is_one_line(
    server, covid_files, tmp_path, status, attempts, text
):
    server.statuses[ZIP] = status
    assert the_line(RunError, "covid_ct", tmp_path / "new") == f"{server.url}/{ZIP}: {text}"
    assert server.requests.count(f"GET {ZIP}") == attempts
    found = below(tmp_path / "new")
    assert ZIP not in found
    assert found == {path: covid_files[path] for path in found}


def test_no_network(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("COVID_LM_MIRROR", "http://127.0.0.1:9")
    monkeypatch.setattr(download, "FIRST_PAUSE", 0.0)
    line = the_line(RunError, "cifar10", tmp_path / "new")
    assert line.startswith(f"http://127.0.0.1:9/{ARCHIVE}: can't be reached (Connection refused); ")
    assert not caplog.records
    assert not (tmp_path / "new").exists()


def test_two_processes_with_one_folder(server, covid_files, tmp_path):
    folder = str(tmp_path / "new")
    run = functools.partial(download.download, "covid_ct", folder)
    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert below(folder) == covid_files
    assert len(server.requests) == len(covid_files)


def test_a_place_that_is_no_folder(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", "gs://bucket/data"):
        line = the_line(InputError, "cifar10", place)
        assert line == f"--download: --data_dir={place} must be a folder on this machine"


def test_downloaded_covid_ct_is_a_data_set(server, small_copy):
    assert covid_ct(str(small_copy))
    options = DataOptions(dataset="covid_ct", data_dir="DIR", download=True)
    assert options.reading.download
    assert "download" not in options.reading_flags
    assert options.flags() == " --dataset=covid_ct --data_dir=DIR"
