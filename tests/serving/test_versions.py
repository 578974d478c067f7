"""Publishing of versions: complete or not at all."""

import errno
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from covid_lm.errors import RunError
from covid_lm.serving import saved_model
from covid_lm.serving.saved_model import export_classifier
from covid_lm.serving.versions import publish_version, versions


def write_two_files(path: str) -> None:
    os.makedirs(os.path.join(path, "sub"))
    for name in ("a", "sub/b"):
        with open(os.path.join(path, name), "w") as file:
            file.write(name)


def test_next_free_integer(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "run").mkdir()
    assert publish_version(str(tmp_path), write_two_files) == str(tmp_path / "8")
    assert (tmp_path / "8" / "sub" / "b").read_text() == "sub/b"
    assert versions(str(tmp_path)) == [7, 8]
    assert versions(str(tmp_path / "absent")) == []


def test_a_failed_write_leaves_nothing(tmp_path):
    def fail(path: str) -> None:
        write_two_files(path)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        publish_version(str(tmp_path), fail)
    assert os.listdir(tmp_path) == []


def test_exporters_at_the_same_time_get_versions_of_their_own(tmp_path):
    barrier = threading.Barrier(4)

    def write(path: str) -> None:
        write_two_files(path)
        barrier.wait()

    published = []
    threads = [
        threading.Thread(target=lambda: published.append(publish_version(str(tmp_path), write)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(published) == [str(tmp_path / str(k)) for k in (1, 2, 3, 4)]
    assert versions(str(tmp_path)) == [1, 2, 3, 4]


def test_files_staged_by_a_killed_exporter_are_removed(tmp_path):
    script = (
        "import os, sys\n"
        "from covid_lm.serving.versions import publish_version\n"
        "def write(path):\n"
        "    os.makedirs(path)\n"
        "    os.kill(os.getpid(), 9)\n"
        "publish_version(sys.argv[1], write)\n"
    )
    process = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert process.returncode == -9
    assert len(os.listdir(tmp_path)) == 1
    assert versions(str(tmp_path)) == []
    publish_version(str(tmp_path), write_two_files)
    assert os.listdir(tmp_path) == ["1"]


def test_an_export_that_cant_be_written_is_one_line(tmp_path, monkeypatch, classifiers):
    def fill_the_disk(classifier, path, extra):
        write_two_files(path)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(saved_model, "write_saved_model", fill_the_disk)
    directory = str(tmp_path / "model")
    with pytest.raises(RunError) as error:
        export_classifier(classifiers["fixed"], directory, (), np.zeros([0, 3]), {})
    assert str(error.value) == f"{directory}: nothing published, No space left on device"
    assert os.listdir(directory) == []


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB, which an export does not fit into."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("a small file system can't be mounted here")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.slow
def test_a_full_disk_leaves_nothing_half_published(small_disk, classifiers):
    directory = str(small_disk / "model")
    with pytest.raises(RunError, match=r"model: nothing published, .*[Nn]o space left on device"):
        export_classifier(classifiers["fixed"], directory, (), np.zeros([0, 3]), {})
    assert versions(directory) == []
    assert os.listdir(directory) == []
