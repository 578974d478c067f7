"""No lost work: a run that is broken off, anywhere and by anything, ends as if it had not been."""

import contextlib
import dataclasses
import fcntl
import json
import math
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import time

import h5py
import keras
import numpy as np
import pytest

from covid_lm.data.folder import folder
from covid_lm.errors import InputError
from covid_lm.models.saving import load_classifier
from covid_lm.train import decode_splits, train
from covid_lm.training import callbacks as training_callbacks
from covid_lm.training import loop as fitting
from covid_lm.training.build import build_classifier
from covid_lm.training.loop import fit
from covid_lm.training.options import TrainingOptions
from covid_lm.training.run_directory import UNFINISHED
from covid_lm.training.termination import Terminated

BATCH_SIZE = 5  # of 24 images: the last of an epoch's 5 batches is filled up
EPOCHS = 3


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
    """Stands in for `Termination`: the signal comes in the given step, or never."""

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
    """The final weights of a fit, or of what is left of it, in a fresh model."""
    chosen = options(image_folder, run_dir, **changes)
    dataset = folder(image_folder)
    keras.utils.set_random_seed(chosen.seed)
    classifier = build_classifier(chosen, dataset.classes)
    images = decode_splits(classifier, dataset, chosen)
    fit(classifier, images, BATCH_SIZE, chosen, str(run_dir), AfterSteps(steps))
    return classifier.logits.get_weights()


@pytest.fixture(scope="module")
def uninterrupted(image_folder, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("uninterrupted")
    return fitted(image_folder, run_dir), metrics_lines(run_dir)


@pytest.fixture(scope="module")
def interrupted(image_folder, tmp_path_factory):
    """Broken off after 8 steps: one epoch and 3 steps of the next."""
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
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    for line, expected in zip(lines, expected_lines, strict=True):
        del line["seconds"]
        assert line == pytest.approx({key: expected[key] for key in line}, abs=1e-6)
        assert line["val_loss"] == expected["val_loss"]


def test_a_seed_is_a_run_bit_for_bit(image_folder, tmp_path, uninterrupted):
    assert_same_end(fitted(image_folder, tmp_path), tmp_path, uninterrupted)


@pytest.mark.slow
def test_broken_off_within_an_epoch(image_folder, tmp_path, interrupted, uninterrupted, capsys):
    run_dir = shutil.copytree(interrupted, tmp_path / "run")
    weights = fitted(image_folder, run_dir)
    assert capsys.readouterr().out.startswith("resumed after epoch 1, step 3\nepoch 2/3: ")
    assert_same_end(weights, run_dir, uninterrupted)


CHANGED_BY_THE_EPOCH = {
    "backbone": "1x64",
    "layout": "gray22",
    "schedule": "cosine",
    "augment": "strong",
    "label_smoothing": 0.1,
    "weight_decay": 0.01,
}


@pytest.mark.slow
def test_a_schedule_and_augmented_images_go_on_where_they_were(image_folder, tmp_path):
    whole = fitted(image_folder, tmp_path / "whole", **CHANGED_BY_THE_EPOCH)
    with pytest.raises(Terminated):
        fitted(image_folder, tmp_path / "broken", steps=8, **CHANGED_BY_THE_EPOCH)
    resumed = fitted(image_folder, tmp_path / "broken", **CHANGED_BY_THE_EPOCH)
    expected = whole, metrics_lines(tmp_path / "whole")
    assert_same_end(resumed, tmp_path / "broken", expected)


@pytest.mark.slow
def test_a_truncated_checkpoint(image_folder, tmp_path, interrupted, uninterrupted, capsys):
    run_dir = shutil.copytree(interrupted, tmp_path / "run")
    newest = run_dir / "checkpoints" / "step-000000008.npz"
    newest.write_bytes(newest.read_bytes()[:-1000])
    weights = fitted(image_folder, run_dir)
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith(f"{newest}: damaged (")
    assert said[0].endswith("; the checkpoint before it is used")
    assert said[1] == "resumed after epoch 1, step 0"
    assert_same_end(weights, run_dir, uninterrupted)


def test_a_run_that_is_terminated_resumes_by_itself(
    image_folder, tmp_path, uninterrupted, monkeypatch, capsys
):
    kept = fitting.print_epoch

    def send_sigterm(progress, epochs):
        kept(progress, epochs)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(fitting, "print_epoch", send_sigterm)
    with pytest.raises(Terminated) as error:
        train(options(image_folder, tmp_path))
    assert error.value.exit_status == 143
    assert os.listdir(tmp_path / "run-1") == [UNFINISHED]
    checkpoints = tmp_path / "run-1" / UNFINISHED / "checkpoints"
    assert sorted(os.listdir(checkpoints)) == ["step-000000005.npz", "step-000000006.npz"]
    monkeypatch.setattr(fitting, "print_epoch", kept)

    with pytest.raises(InputError, match=r"no such directory; give --data_dir"):
        train(options("absent", tmp_path))
    assert len(os.listdir(checkpoints)) == 2

    capsys.readouterr()
    result = train(options(image_folder, tmp_path, tpu_timeout=1.0))
    assert "\nresumed after epoch 1, step 1\n" in capsys.readouterr().out
    assert sorted(os.listdir(tmp_path / "run-1")) == ["1", "run"]
    assert result.version_dir == str(tmp_path / "run-1" / "1")
    run_dir = tmp_path / "run-1" / "run"
    assert os.listdir(run_dir / "checkpoints") == ["best.weights.h5"]
    weights = load_classifier(str(run_dir)).logits.get_weights()
    assert_same_end(weights, run_dir, uninterrupted)


def test_two_processes_can_not_fill_one_directory(image_folder, tmp_path):
    staged = tmp_path / "run-1" / UNFINISHED
    staged.mkdir(parents=True)
    descriptor = os.open(staged, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(InputError) as error:
            train(options(image_folder, tmp_path))
    finally:
        os.close(descriptor)
    assert str(error.value) == (
        f"{tmp_path}/run-1: another process is training there; wait for it, or give another --name"
    )


def final_weights(model_dir: pathlib.Path) -> dict[str, np.ndarray]:
    weights = {}
    with h5py.File(model_dir / "run" / "checkpoints" / "best.weights.h5") as file:
        file.visititems(
            lambda name, item: weights.update({name: item[()]} if hasattr(item, "shape") else {})
        )
    return weights


def newest_checkpoint(model_dir: pathlib.Path) -> int | None:
    names = sorted(path.stem for path in model_dir.glob(f"{UNFINISHED}/checkpoints/*.npz"))
    return int(names[-1].removeprefix("step-")) if names else None


def train_saving_often(options: TrainingOptions) -> None:
    """With checkpoints within an epoch too, which else come once a minute."""
    training_callbacks.SAVE_INTERVAL, training_callbacks.SAVE_SHARE = 0.0, 0.5
    train(options)


@pytest.mark.slow
def test_killed_twenty_times_at_random_moments(image_folder, tmp_path):
    """kill -9, wherever it hits: while building, training, saving, evaluating or exporting."""
    chosen = options(image_folder, tmp_path, epochs=30, early_stopping="none")
    # Python starts each process from a server that has imported TensorFlow and not used it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["covid_lm.train"])

    def started(name: str, target=train_saving_often) -> multiprocessing.Process:
        process = context.Process(target=target, args=(dataclasses.replace(chosen, name=name),))
        process.start()
        return process

    started("warm-up", train).join()
    began = time.monotonic()
    started("uninterrupted", train).join()
    duration = time.monotonic() - began
    expected = final_weights(tmp_path / "uninterrupted")
    last = math.ceil(32 / BATCH_SIZE) * chosen.epochs  # steps
    generator = random.Random(0)
    kills, runs, moments = 0, 0, []
    while kills < 20:
        runs += 1
        name, done = f"killed-{runs}", False
        while not done:
            process = started(name)
            # Once its training is done, a run is killed no more: the next moments are another's.
            trained = moments[-1:] == [(runs, last)]
            process.join(None if trained or kills == 20 else generator.uniform(0, duration))
            done = process.exitcode is not None
            if done:
                assert process.exitcode == 0
            else:
                process.kill()
                process.join()
                kills += 1
                moments.append((runs, newest_checkpoint(tmp_path / name)))
        weights = final_weights(tmp_path / name)
        assert weights.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(weights[key], value)
        assert len(metrics_lines(tmp_path / name / "run")) == chosen.epochs
    print(f"run and newest checkpoint at each of {kills} kills: {moments}")
