"""The directory of a run that can go on: what it keeps, and what it refuses."""

import json
import os

import keras
import numpy as np
import pytest

from covid_lm.errors import InputError
from covid_lm.training.pretraining_checkpoint import (
    restore_epoch,
    resumable_run,
    save_epoch,
    whole_epochs,
)
from covid_lm.training.pretraining_config import read_config

HISTORY = [{"epoch": 1, "seconds": 0.5}]


def make_model(width: int = 3) -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(width)])
    model.compile(keras.optimizers.AdamW(0.1), "mse")
    return model


def state(model) -> list[np.ndarray]:
    return [one.numpy() for one in (*model.weights, *model.optimizer.variables)]


@pytest.fixture
def run_dir(tmp_path) -> str:
    """A run with one whole epoch and the beginning of a second."""
    model = make_model()
    model.train_on_batch(np.ones([4, 2]), np.zeros([4, 3]))
    save_epoch(str(tmp_path), model, HISTORY)
    (tmp_path / "checkpoints" / ".staged").mkdir()
    (tmp_path / "metrics.jsonl").write_text("cut short")
    return str(tmp_path)


def test_weights_and_optimizer_come_back_bit_for_bit(tmp_path):
    kept = make_model()
    kept.train_on_batch(np.ones([4, 2]), np.zeros([4, 3]))
    save_epoch(str(tmp_path), kept, HISTORY)
    other = make_model()
    assert restore_epoch(str(tmp_path), other) == HISTORY
    for ours, theirs in zip(state(kept), state(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert int(other.optimizer.iterations) == 1
    kept.train_on_batch(np.ones([4, 2]), np.ones([4, 3]))
    other.train_on_batch(np.ones([4, 2]), np.ones([4, 3]))
    for ours, theirs in zip(state(kept), state(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_one_checkpoint_is_kept_and_the_lines_are_those_behind_it(run_dir):
    assert whole_epochs(run_dir) == 1
    restore_epoch(run_dir, make_model())
    path = os.path.join(run_dir, "metrics.jsonl")
    with open(path, encoding="utf-8") as file:
        assert [json.loads(line) for line in file] == HISTORY
    model = make_model()
    model.train_on_batch(np.ones([4, 2]), np.zeros([4, 3]))
    save_epoch(run_dir, model, [*HISTORY, {"epoch": 2, "seconds": 0.5}])
    assert os.listdir(os.path.join(run_dir, "checkpoints")) == ["epoch-0002"]
    assert whole_epochs(run_dir) == 2


def test_without_an_epoch_there_is_nothing_to_restore(tmp_path):
    assert restore_epoch(str(tmp_path), make_model()) == []
    assert whole_epochs(str(tmp_path)) == 0
    assert read_config(str(tmp_path)) is None


def test_a_damaged_checkpoint_or_another_model_s_is_named(run_dir):
    message = "checkpoints/epoch-0001: can't be loaded (.*); remove it to begin anew"
    with pytest.raises(InputError, match=message):
        restore_epoch(run_dir, make_model(width=4))
    with open(os.path.join(run_dir, "checkpoints", "epoch-0001", "state.npz"), "w") as file:
        file.write("cut")
    with pytest.raises(InputError, match=message):
        restore_epoch(run_dir, make_model())


@pytest.mark.parametrize("text", ['{"classifier": {}, "run": {}}', "[]", "{"])
def test_another_kind_of_run_is_not_gone_on_with(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=r"config.json: not of a pre-training run; give another"):
        read_config(str(tmp_path))


def test_a_failed_run_leaves_its_whole_epochs_or_nothing(tmp_path):
    def run(save: bool):
        with resumable_run(str(tmp_path / "new")) as run_dir:
            (tmp_path / "new" / "run" / "config.json").write_text("{}")
            if save:
                model = make_model()
                model.optimizer.build(model.trainable_variables)
                save_epoch(run_dir, model, HISTORY)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(save=False)
    assert os.listdir(tmp_path) == []
    with pytest.raises(KeyboardInterrupt):
        run(save=True)
    with pytest.raises(KeyboardInterrupt):
        run(save=False)
    assert whole_epochs(str(tmp_path / "new" / "run")) == 1


def test_what_was_there_is_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("a classifier's")
    with pytest.raises(InputError), resumable_run(str(tmp_path)) as run_dir:
        read_config(run_dir)
    assert (tmp_path / "run" / "config.json").read_text() == "a classifier's"
