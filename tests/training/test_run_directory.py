"""The directory of an unfinished run: kept while there is work in it, and only then."""

import contextlib
import json
import os
import pathlib

import pytest

from covid_lm.errors import InputError
from covid_lm.training.run_directory import UNFINISHED, checkpoint_files, resumed_config, staged_run

TOLD = {"epochs": 3, "seed": 0, "learning_rate": 1e-4, "date": "2026-11-23"}
DECISIVE = ("epochs", "seed", "learning_rate")


def add_checkpoint(staged: str, told: dict = TOLD) -> None:
    (pathlib.Path(staged) / "checkpoints").mkdir(exist_ok=True)
    (pathlib.Path(staged) / "checkpoints" / "step-000000001.npz").write_bytes(b"x")
    (pathlib.Path(staged) / "config.json").write_text(json.dumps({"run": told}))


def break_off(tmp_path, fill) -> str:
    with contextlib.suppress(KeyboardInterrupt), staged_run(str(tmp_path / "a")) as staged:
        fill(staged)
        raise KeyboardInterrupt
    return staged


@pytest.fixture
def unfinished(tmp_path) -> str:
    return break_off(tmp_path, add_checkpoint)


def test_a_finished_run_takes_its_name_and_leaves_its_checkpoints(tmp_path, unfinished):
    with staged_run(str(tmp_path / "a")) as staged:
        assert staged == unfinished == str(tmp_path / "a" / UNFINISHED)
        assert len(checkpoint_files(f"{staged}/checkpoints")) == 1
    assert os.listdir(tmp_path / "a") == ["run"]
    assert os.listdir(tmp_path / "a" / "run" / "checkpoints") == []


def test_a_finished_run_replaces_the_one_before_whole(tmp_path):
    for name in ("first", "second"):
        with staged_run(str(tmp_path / "a")) as staged:
            (pathlib.Path(staged) / name).touch()
    assert os.listdir(tmp_path / "a") == ["run"]
    assert os.listdir(tmp_path / "a" / "run") == ["second"]


def test_without_a_checkpoint_nothing_is_left(tmp_path):
    break_off(tmp_path, lambda staged: (pathlib.Path(staged) / "config.json").touch())
    assert os.listdir(tmp_path) == []


def test_what_a_killed_run_left_before_its_first_checkpoint_is_cleared(tmp_path):
    left = tmp_path / "a" / UNFINISHED
    (left / "samples").mkdir(parents=True)
    (left / "config.json").touch()
    with staged_run(str(tmp_path / "a")) as staged:
        assert os.listdir(staged) == []


def test_the_same_flags_resume_with_what_the_run_was_told(unfinished):
    now = {**TOLD, "date": "2026-11-24"}
    assert resumed_config(unfinished, now, DECISIVE) == {"backend": "tensorflow", **TOLD}


def test_other_flags_are_named(unfinished):
    with pytest.raises(InputError) as error:
        resumed_config(unfinished, {**TOLD, "epochs": 4, "learning_rate": 0.1}, DECISIVE)
    assert str(error.value) == (
        f"{unfinished}: holds an unfinished run with epochs 3 (now 4), "
        "learning_rate 0.0001 (now 0.1); repeat its flags to resume it, give another --name, or "
        "remove the directory"
    )


def test_an_unfinished_run_with_a_removed_option(tmp_path):
    unfinished = break_off(tmp_path, lambda path: add_checkpoint(path, {**TOLD, "views": 2}))
    with pytest.raises(InputError, match="a run with views 2, which this version no longer reads"):
        resumed_config(unfinished, TOLD, DECISIVE)


def test_a_damaged_config(unfinished):
    (pathlib.Path(unfinished) / "config.json").write_text("{")
    with pytest.raises(InputError) as error:
        resumed_config(unfinished, TOLD, DECISIVE)
    assert str(error.value) == f"{unfinished}: its config.json is damaged; remove the directory"


def test_there_is_nothing_to_resume(tmp_path):
    assert resumed_config(str(tmp_path), TOLD, DECISIVE) is TOLD
