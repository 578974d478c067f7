"""Files on disk and in a store; TensorFlow's `ram://` replaces gs://."""

import contextlib
import os
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

from covid_lm import files as file_system
from covid_lm.data.covid_ct import covid_ct
from covid_lm.data.folder import folder
from covid_lm.errors import InputError
from covid_lm.evaluation_run import evaluate_run
from covid_lm.export import export_run
from covid_lm.models.saving import load_classifier
from covid_lm.serving.versions import publish_version, versions
from covid_lm.training import checkpoints
from covid_lm.training.options import TrainingOptions
from covid_lm.training.run_directory import staged_run
from covid_lm.training_run import train
from tests.ram_store import replace_on_copy


@pytest.fixture(autouse=True)
def replacing(monkeypatch):
    replace_on_copy(monkeypatch)


@pytest.fixture(params=["local", "ram"])
def root(request, tmp_path) -> str:
    return str(tmp_path) if request.param == "local" else f"ram://{tmp_path.name}-{id(tmp_path)}"


def write(path: str, content: bytes) -> None:
    file_system.make_directories(os.path.dirname(path))
    with file_system.atomic_write(path) as staged:
        pathlib.Path(staged).write_bytes(content)


def test_files(root):
    for name, content in (("a/one", b"1"), ("a/b/two", b"2"), ("a/one", b"new")):
        write(f"{root}/{name}", content)
    assert file_system.read_bytes(f"{root}/a/one") == b"new"
    assert file_system.list_names(f"{root}/a") == ["b", "one"]
    assert file_system.files_below(root) == [f"{root}/a/b/two", f"{root}/a/one"]
    assert file_system.is_directory(f"{root}/a")
    assert not file_system.is_directory(f"{root}/a/one")
    assert not file_system.is_directory(f"{root}/absent")
    assert file_system.exists(f"{root}/a/one")
    assert not file_system.exists(f"{root}/a/absent")
    with file_system.local_copy(f"{root}/a/b/two") as copy:
        assert pathlib.Path(copy).read_bytes() == b"2"
    file_system.remove(f"{root}/a/one")
    assert file_system.list_names(f"{root}/a") == ["b"]
    file_system.remove_tree(f"{root}/a")
    file_system.remove_tree(f"{root}/a")
    assert not file_system.exists(f"{root}/a/b/two")


def test_an_absent_file_is_an_os_error(root):
    for function in (file_system.read_bytes, file_system.list_names, file_system.remove):
        with pytest.raises(FileNotFoundError):
            function(f"{root}/absent")


def test_an_error_while_writing_changes_nothing(root):
    write(f"{root}/a/one", b"1")
    with (
        contextlib.suppress(KeyboardInterrupt),
        file_system.atomic_write(f"{root}/a/one") as staged,
    ):
        pathlib.Path(staged).write_bytes(b"half")
        raise KeyboardInterrupt
    assert file_system.read_bytes(f"{root}/a/one") == b"1"
    assert file_system.list_names(f"{root}/a") == ["one"]


def test_a_store_that_is_not_there_is_an_os_error():
    with pytest.raises(OSError, match="File system scheme 'none' not implemented"):
        file_system.read_bytes("none://a/b")


def test_local_files_need_no_tensorflow():
    script = (
        "import sys\n"
        "from covid_lm import files\n"
        "from covid_lm.serving import versions\n"
        "files.list_names('.')\n"
        "sys.exit('tensorflow' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_uploaded_tree_ends_with_the_file_that_readers_look_for(tmp_path, monkeypatch):
    for name in ("a", "saved_model.pb", "z/b"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    copied = []
    copy = tf.io.gfile.copy
    monkeypatch.setattr(
        tf.io.gfile, "copy", lambda *args, **kw: copied.append(args[1]) or copy(*args, **kw)
    )
    target = f"ram://{tmp_path.name}/1"
    file_system.copy_tree_to_store(str(tmp_path), target, last="saved_model.pb")
    assert copied == [f"{target}/a", f"{target}/z/b", f"{target}/saved_model.pb"]
    assert file_system.read_bytes(f"{target}/z/b") == b"z/b"


def test_versions(root):
    def write_model(path):
        write(f"{path}/saved_model.pb", b"graph")

    def fail(path):
        write_model(path)
        raise KeyboardInterrupt

    assert versions(f"{root}/m") == []
    for number in (1, 2):
        assert publish_version(f"{root}/m", write_model) == f"{root}/m/{number}"
    with pytest.raises(KeyboardInterrupt):
        publish_version(f"{root}/m", fail)
    assert versions(f"{root}/m") == [1, 2]
    assert file_system.read_bytes(f"{root}/m/2/saved_model.pb") == b"graph"


def test_a_finished_run_takes_its_name(root):
    for name in ("first", "second"):
        with staged_run(f"{root}/m") as staged:
            write(f"{staged}/config.json", name.encode())
            write(f"{staged}/{name}", b"")
    assert file_system.list_names(f"{root}/m/run") == ["config.json", "second"]
    assert file_system.read_bytes(f"{root}/m/run/config.json") == b"second"
    assert file_system.files_below(f"{root}/m/.run-in-progress") == []


def upload(directory: str, name: str) -> str:
    target = f"ram://{name}"
    file_system.copy_tree_to_store(directory, target, last="")
    return target


def test_a_folder_data_set(image_folder):
    here = folder(image_folder)
    there = folder(upload(image_folder, "folder-data"))
    assert there.classes == here.classes
    for record, expected in zip(there.records, here.records, strict=True):
        assert (record.filename, record.label, record.split, record.read()) == (
            expected.filename,
            expected.label,
            expected.split,
            expected.read(),
        )
    with pytest.raises(InputError, match="ram://absent: no such directory"):
        folder("ram://absent")


def test_covid_ct(covid_ct_dir):
    there = covid_ct(upload(covid_ct_dir, "covid-ct-data"))
    here = covid_ct(covid_ct_dir)
    assert [r.filename for r in there.records] == [r.filename for r in here.records]
    assert [r.patient for r in there.records] == [r.patient for r in here.records]
    assert there.records[-1].read() == here.records[-1].read()


@pytest.mark.slow
def test_a_run_in_a_store_is_interrupted_and_resumed(image_folder, monkeypatch, capsys):
    options = TrainingOptions(
        dataset="folder",
        data_dir=upload(image_folder, "run-data"),
        backbone="1x64",
        epochs=2,
        output_dir="ram://runs",
        name="run-1",
    )
    save = checkpoints.Checkpoints.save

    def save_and_interrupt(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Checkpoints, "save", save_and_interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(options)
    result = train(options)
    assert "resumed after epoch 1, step 0\n" in capsys.readouterr().out
    assert result.version_dir == "ram://runs/run-1/1"
    assert file_system.list_names("ram://runs/run-1/run/checkpoints") == ["best.weights.h5"]
    assert load_classifier("ram://runs/run-1/run").config.classes == ("bright", "dark")
    report = evaluate_run("ram://runs/run-1", "folder", options.data_dir)
    assert report["protocols"] == result.metrics["protocols"]
    version_dir, difference = export_run("ram://runs/run-1")
    assert version_dir == "ram://runs/run-1/2"
    assert difference < 1e-5
