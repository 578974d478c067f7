"""The directory of an unfinished run, which is kept if it has a checkpoint."""

import contextlib
import dataclasses
import json
import os
import pathlib

import pytest

from covid_lm.errors import InputError
from covid_lm.training.options import TrainingOptions
from covid_lm.training.run_directory import UNFINISHED, checkpoint_files, resumed_config, staged_run

RUN = {
    **dataclasses.asdict(TrainingOptions(epochs=3)),
    "training_images": "24, a",
    "date": "2026-11-23",
}
OPTIONS = TrainingOptions(epochs=3)


def add_checkpoint(staged: str, run: dict = RUN) -> None:
    (pathlib.Path(staged) / "checkpoints").mkdir(exist_ok=True)
    (pathlib.Path(staged) / "checkpoints" / "step-000000001.npz").write_bytes(b"x")
    (pathlib.Path(staged) / "config.json").write_text(json.dumps({"run": run}))


def interrupt(tmp_path, fill) -> str:
    with contextlib.suppress(KeyboardInterrupt), staged_run(str(tmp_path / "a")) as staged:
        fill(staged)
        raise KeyboardInterrupt
    return staged


@pytest.fixture
def unfinished(tmp_path) -> str:
    return interrupt(tmp_path, add_checkpoint)


def test_a_finished_run_gets_its_name_and_loses_its_checkpoints(tmp_path, unfinished):
    with staged_run(str(tmp_path / "a")) as staged:
        assert staged == unfinished == str(tmp_path / "a" / UNFINISHED)
        assert len(checkpoint_files(f"{staged}/checkpoints")) == 1
    assert os.listdir(tmp_path / "a") == ["run"]
    assert os.listdir(tmp_path / "a" / "run") == ["config.json"]


def test_a_finished_run_replaces_the_previous_one(tmp_path):
    for name in ("first", "second"):
        with staged_run(str(tmp_path / "a")) as staged:
            (pathlib.Path(staged) / name).touch()
    assert os.listdir(tmp_path / "a") == ["run"]
    assert os.listdir(tmp_path / "a" / "run") == ["second"]


def test_without_a_checkpoint_nothing_is_left(tmp_path):
    interrupt(tmp_path, lambda staged: (pathlib.Path(staged) / "config.json").touch())
    assert os.listdir(tmp_path) == []


def test_files_of_a_run_killed_before_its_first_checkpoint_are_removed(tmp_path):
    left = tmp_path / "a" / UNFINISHED
    (left / "samples").mkdir(parents=True)
    (left / "config.json").touch()
    with staged_run(str(tmp_path / "a")) as staged:
        assert os.listdir(staged) == []


def resumed(staged: str, run: dict = RUN, options: TrainingOptions = OPTIONS) -> dict:
    return resumed_config(staged, run, options)


def test_the_same_options_and_data_resume_with_the_stored_options(unfinished):
    assert resumed(unfinished, {**RUN, "date": "2026-11-24"}) == RUN


def test_changed_options_and_data_are_named(unfinished):
    with pytest.raises(InputError) as error:
        resumed(unfinished, {**RUN, "training_images": "24, b"}, TrainingOptions(epochs=4))
    assert str(error.value) == (
        f"{unfinished}: holds a run with --epochs=3 (now --epochs=4), other data "
        "(training images 24, a, now 24, b); repeat its flags and restore the data to resume it, "
        "give another --name, or remove the directory"
    )


def test_an_unfinished_run_with_a_removed_option(tmp_path):
    unfinished = interrupt(tmp_path, lambda path: add_checkpoint(path, {**RUN, "views": 2}))
    with pytest.raises(InputError, match="a run with views 2, which this version no longer reads"):
        resumed(unfinished)


@pytest.mark.parametrize("content", ["{", "[]", "{}"])
def test_a_damaged_config(unfinished, content):
    (pathlib.Path(unfinished) / "config.json").write_text(content)
    with pytest.raises(InputError) as error:
        resumed(unfinished)
    assert str(error.value) == f"{unfinished}: its config.json is damaged; remove the directory"


def test_nothing_to_resume(tmp_path):
    assert resumed(str(tmp_path)) is RUN


@pytest.mark.parametrize("name", ["run", UNFINISHED])
@pytest.mark.parametrize(
    ("there", "section", "kind"),
    [("run", "pretraining", "pre-training"), ("pretraining", "run", "training")],
)
def test_a_run_of_another_kind_is_left_alone(tmp_path, name, there, section, kind):
    (tmp_path / name).mkdir()
    path = tmp_path / name / "config.json"
    path.write_text(json.dumps({there: RUN}))
    with pytest.raises(InputError) as error, staged_run(str(tmp_path), section):
        pass
    assert str(error.value) == f"{path}: not of a {kind} run; give another --name"
    assert json.loads(path.read_text()) == {there: RUN}
