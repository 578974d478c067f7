"""kill -9 at random moments, within epochs too: the resumed run ends bit-equal."""

import dataclasses
import itertools
import math
import multiprocessing
import os
import pathlib
import random
import time
from collections.abc import Callable

import h5py
import numpy as np
import pytest

from covid_lm.pretrain import pretrain
from covid_lm.training import callbacks as training_callbacks
from covid_lm.training.pretraining_options import PretrainingOptions
from covid_lm.training.run_directory import UNFINISHED
from covid_lm.training_run import train
from tests.test_pretrain import options as pretraining_options
from tests.training.test_resume import metrics_lines
from tests.training.test_resume import options as training_options

pytestmark = pytest.mark.slow
BATCH_SIZE = 5


def run_saving_often(options) -> None:
    """Runs with checkpoints within an epoch, which are otherwise written once a minute."""
    training_callbacks.SAVE_INTERVAL, training_callbacks.SAVE_SHARE = 0.0, 0.5
    (pretrain if isinstance(options, PretrainingOptions) else train)(options)


def newest_checkpoint(model_dir: pathlib.Path) -> int | None:
    names = sorted(path.stem for path in model_dir.glob(f"{UNFINISHED}/checkpoints/*.npz"))
    return int(names[-1].removeprefix("step-")) if names else None


def kill_and_compare(
    options, num_kills: int, num_images: int, results: Callable[[pathlib.Path], dict]
) -> None:
    """Kills runs `num_kills` times in all, and compares each run's results at its end.

    Args:
        num_images: in an epoch.
        results: the arrays that must be equal, from a finished run's directory.
    """
    output_dir = pathlib.Path(options.output_dir)
    # Each process starts from a server that has imported TensorFlow but not used it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["covid_lm.training_run", "covid_lm.pretrain"])

    def started(name: str) -> multiprocessing.Process:
        chosen = dataclasses.replace(options, name=name)
        process = context.Process(target=run_saving_often, args=(chosen,))
        process.start()
        return process

    started("warm-up").join()
    began = time.monotonic()
    started("uninterrupted").join()
    duration = time.monotonic() - began
    expected = results(output_dir / "uninterrupted")
    generator = random.Random(0)
    moments: list[tuple[int, int | None]] = []
    for number in itertools.count(1):
        name = f"killed-{number}"
        while True:
            process = started(name)
            # After three kills a run is left to finish: later moments are another run's.
            kills = sum(run == number for run, _ in moments)
            may_end = len(moments) == num_kills or kills == 3
            process.join(None if may_end else generator.uniform(0, duration))
            if process.exitcode is not None:
                break
            process.kill()
            process.join()
            moments.append((number, newest_checkpoint(output_dir / name)))
        assert process.exitcode == 0
        found = results(output_dir / name)
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(found[key], value)
        lines = [
            [{**line, "seconds": 0} for line in metrics_lines(output_dir / of / "run")]
            for of in (name, "uninterrupted")
        ]
        assert lines[0] == lines[1]
        assert len(lines[0]) == options.epochs
        if len(moments) == num_kills:
            break
    within = [step for _, step in moments if step and step % math.ceil(num_images / BATCH_SIZE)]
    print(f"{len(within)} of {num_kills} kills within an epoch; run and checkpoint: {moments}")
    assert within


def classifier_weights(model_dir: pathlib.Path) -> dict[str, np.ndarray]:
    weights = {}
    with h5py.File(model_dir / "run" / "checkpoints" / "best.weights.h5") as file:
        file.visititems(
            lambda name, item: weights.update({name: item[()]} if hasattr(item, "shape") else {})
        )
    return weights


def pretrained_weights(model_dir: pathlib.Path) -> dict[str, np.ndarray]:
    assert sorted(os.listdir(model_dir)) == ["run", "weights"]
    directory = model_dir / "weights"
    return {path.name: np.frombuffer(path.read_bytes(), np.uint8) for path in directory.iterdir()}


def test_training(image_folder, tmp_path):
    """Kills while building, training, saving, evaluating and exporting."""
    options = training_options(image_folder, tmp_path, epochs=30, early_stopping="none")
    kill_and_compare(options, 20, 32, classifier_weights)


def test_pretraining(image_folder, tmp_path):
    options = pretraining_options(image_folder, tmp_path, epochs=30, batch_size=BATCH_SIZE)
    kill_and_compare(options, 10, 24, pretrained_weights)
