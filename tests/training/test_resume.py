"""An interrupted run, once resumed, ends with the results of an uninterrupted one, bit for bit."""

import contextlib
import json
import os
import pathlib
import shutil
import signal

import keras
import numpy as np
import pytest

from covid_lm.data.folder import folder
from covid_lm.errors import InputError
from covid_lm.models.saving import load_classifier
from covid_lm.training import fine_tuning
from covid_lm.training.build import build_classifier
from covid_lm.training.checkpoints import resume
from covid_lm.training.fine_tuning import fit_classifier
from covid_lm.training.optimizer import averaged_weights, compile_for_training
from covid_lm.training.options import TrainingOptions
from covid_lm.training.run_directory import UNFINISHED
from covid_lm.training.termination import Terminated
from covid_lm.training_run import decode_splits, train
from tests.conftest import exports_not_compared, refused_as_locked

BATCH_SIZE = 5  # of 24 images: the last of an epoch's 5 batches is filled up
EPOCHS = 2


def options(image_folder, output_dir, **changes) -> TrainingOptions:
    settings = {
        "dataset": "folder",
        "data_dir": image_folder,
        "backbone": "1x64",
        "epochs": EPOCHS,
        "batch_size": BATCH_SIZE,
        "learning_rate": 1e-3,
        "output_dir": str(output_dir),
        "name": "run-1",
    }
    return TrainingOptions(**{**settings, **changes})


class AfterSteps:
    """A replacement for `Termination` whose signal arrives in the given step, or never."""

    def __init__(self, steps: int | None):
        self.steps = steps
        self.came = False

    @property
    def requested(self) -> bool:
        if self.steps is not None and not self.came:
            self.steps -= 1
            self.came = self.steps == 0
        return self.came

    def deferred(self):
        return contextlib.nullcontext()


def fitted(image_folder, run_dir, steps: int | None = None, **changes) -> list[np.ndarray]:
    """The final weights of a new model, trained or resumed in `run_dir`."""
    chosen = options(image_folder, run_dir, **changes)
    dataset = folder(image_folder)
    keras.utils.set_random_seed(chosen.seed)
    classifier = build_classifier(chosen, dataset.classes)
    images = decode_splits(classifier, dataset, chosen)
    fit_classifier(classifier, images, BATCH_SIZE, chosen, str(run_dir), AfterSteps(steps))
    return classifier.logits.get_weights()


@pytest.fixture(scope="module")
def uninterrupted(image_folder, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("uninterrupted")
    return fitted(image_folder, run_dir), metrics_lines(run_dir)


@pytest.fixture(scope="module")
def interrupted(image_folder, tmp_path_factory):
    """A run interrupted after 8 steps: one epoch and 3 steps of the next."""
    run_dir = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(Terminated) as error:
        fitted(image_folder, run_dir, steps=8)
    assert str(error.value) == "SIGTERM: saved after epoch 1, step 3; the same command resumes"
    return run_dir


def metrics_lines(run_dir) -> list[dict]:
    lines = (pathlib.Path(run_dir) / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def assert_same_end(weights, run_dir, uninterrupted) -> None:
    expected_weights, expected_lines = uninterrupted
    for weight, expected in zip(weights, expected_weights, strict=True):
        np.testing.assert_array_equal(weight, expected)
    lines = metrics_lines(run_dir)
    assert [line["epoch"] for line in lines] == [1, 2]
    for line, expected in zip(lines, expected_lines, strict=True):
        del line["seconds"]
        assert line == {key: expected[key] for key in line}


@pytest.mark.slow
def test_resume_within_an_epoch(image_folder, tmp_path, interrupted, uninterrupted, capsys):
    run_dir = shutil.copytree(interrupted, tmp_path / "run")
    weights = fitted(image_folder, run_dir)
    assert capsys.readouterr().out.startswith("resumed after epoch 1, step 3\nepoch 2/2: ")
    assert_same_end(weights, run_dir, uninterrupted)


AUGMENTED = {
    "backbone": "1x64",
    "layout": "gray22",
    "schedule": "cosine",
    "augment": "strong",
    "label_smoothing": 0.1,
    "weight_decay": 0.01,
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"augment": "erase", "mix": "both", "layout": "paper", "protocol": "fixed", "ema": 0.9},
        {"optimizer": "muon", "ema": 0.9},
    ],
)
def test_resume_with_a_schedule_and_augmented_images(image_folder, tmp_path, changes):
    recipe = {**AUGMENTED, **changes}
    at_once = fitted(image_folder, tmp_path / "at_once", **recipe)
    with pytest.raises(Terminated):
        fitted(image_folder, tmp_path / "interrupted", steps=8, **recipe)
    resumed = fitted(image_folder, tmp_path / "interrupted", **recipe)
    expected = at_once, metrics_lines(tmp_path / "at_once")
    assert_same_end(resumed, tmp_path / "interrupted", expected)


def test_the_final_weights_are_the_averages_of_the_last_checkpoint(image_folder, tmp_path):
    changes = {"ema": 0.9, "early_stopping": "none", "epochs": 1}
    final = fitted(image_folder, tmp_path, **changes)
    chosen = options(image_folder, tmp_path, **changes)
    model = build_classifier(chosen, folder(image_folder).classes).logits
    compile_for_training(model, chosen, steps_per_epoch=1)
    resume(str(tmp_path), model)
    last = model.get_weights()
    with averaged_weights(model):
        averages = model.get_weights()
    for weight, average in zip(final, averages, strict=True):
        np.testing.assert_array_equal(weight, average)
    assert not np.array_equal(last[0], averages[0])


@pytest.mark.slow
def test_resume_from_the_checkpoint_before_a_truncated_one(
    image_folder, tmp_path, interrupted, uninterrupted, capsys
):
    run_dir = shutil.copytree(interrupted, tmp_path / "run")
    newest = run_dir / "checkpoints" / "step-000000008.npz"
    newest.write_bytes(newest.read_bytes()[:-1000])
    weights = fitted(image_folder, run_dir)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{newest}: damaged (")
    assert said[0].endswith("; using the previous checkpoint")
    assert said[1] == "resumed after epoch 1, step 0"
    assert_same_end(weights, run_dir, uninterrupted)


def test_a_terminated_run_is_resumed_by_the_same_command(
    image_folder, tmp_path, uninterrupted, monkeypatch, capsys
):
    kept = fine_tuning.log_epoch

    def send_sigterm(progress, epochs, run_dir):
        kept(progress, epochs, run_dir)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(fine_tuning, "log_epoch", send_sigterm)
    with pytest.raises(Terminated) as error:
        train(options(image_folder, tmp_path))
    assert error.value.exit_status == 143
    assert sorted(os.listdir(tmp_path / "run-1")) == [UNFINISHED, "cache"]
    checkpoints = tmp_path / "run-1" / UNFINISHED / "checkpoints"
    assert sorted(os.listdir(checkpoints)) == ["step-000000005.npz", "step-000000006.npz"]
    monkeypatch.setattr(fine_tuning, "log_epoch", kept)

    with pytest.raises(InputError, match=r"no such directory; give --data_dir"):
        train(options("absent", tmp_path))
    assert len(os.listdir(checkpoints)) == 2
    assert os.listdir(tmp_path / "run-1" / "cache")

    capsys.readouterr()
    with exports_not_compared():
        result = train(options(image_folder, tmp_path, tpu_timeout=1.0))
    assert "\nresumed after epoch 1, step 1\n" in capsys.readouterr().out
    assert sorted(os.listdir(tmp_path / "run-1")) == ["1", "run"]
    assert result.version_dir == str(tmp_path / "run-1" / "1")
    run_dir = tmp_path / "run-1" / "run"
    assert os.listdir(run_dir / "checkpoints") == ["best.weights.h5"]
    weights = load_classifier(str(run_dir)).logits.get_weights()
    assert_same_end(weights, run_dir, uninterrupted)


def test_a_second_process_is_refused(image_folder, tmp_path):
    with refused_as_locked(tmp_path / "run-1"):
        train(options(image_folder, tmp_path))
