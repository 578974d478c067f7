"""The epoch loop: its calls of `fit`, and Keras' JAX backend with a device that isn't the CPU."""

import importlib.util
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from covid_lm.training import callbacks as training_callbacks
from covid_lm.training import loop
from covid_lm.training.checkpoints import PATIENCE, Progress
from tests.backend_process import run_on_backend

# Keras reads a batch ahead of the step if JAX's backend isn't "cpu". Only its name is another one.
SCRIPT = """
import types
import jax, keras, numpy as np, tensorflow as tf
from covid_lm.training.loop import run_epochs

jax.default_backend = lambda: "gpu"
inputs = np.arange(6, dtype="float32").reshape(3, 2, 1)


class Source:
    def steps(self, batch_size):
        return 3

    def epochs(self, batch_size, seed, epochs, first_step=0):
        return tf.data.Dataset.from_tensor_slices((inputs, inputs))


class Recorded(keras.layers.Dense):
    def call(self, x):
        jax.debug.callback(lambda x: print("batch", *x[:, 0]), x)
        return super().call(x)


model = keras.Sequential([keras.Input((1,)), Recorded(1)])
model.compile("sgd", "mse")
options = types.SimpleNamespace(epochs=2, seed=0)
progress = run_epochs(model, Source(), 2, options)
jax.effects_barrier()
print("epochs", progress.epoch)
"""


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs the jax package")
def test_jax_trains_each_batch_once_in_each_epoch(tmp_path):
    script = tmp_path / "epochs.py"
    script.write_text(SCRIPT)
    printed = run_on_backend("jax", script)
    batches = ["batch 0.0 1.0", "batch 2.0 3.0", "batch 4.0 5.0"]
    assert printed.splitlines() == [*batches, *batches, "epochs 2"]


STEPS = 3


class Numbered:
    """Batches of one number each, epoch + step / 10, and a record of what was asked for."""

    def __init__(self):
        self.asked = []

    def steps(self, batch_size):
        return STEPS

    def epochs(self, batch_size, seed, epochs, first_step=0):
        self.asked.append((epochs, first_step))
        numbers = [[epoch + step / 10] for epoch in epochs for step in range(STEPS)][first_step:]
        inputs = np.array(numbers, np.float32)[:, np.newaxis]
        return tf.data.Dataset.from_tensor_slices((inputs, inputs))


def trained(progress=None, epochs=4, **arguments) -> tuple[list, list, Progress]:
    """What was asked for, the mean input of each epoch, and the progress at the end."""
    source = Numbered()
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(0.0), lambda _, predicted: predicted)
    options = types.SimpleNamespace(epochs=epochs, seed=0)
    progress = loop.run_epochs(model, source, 1, options, progress=progress, **arguments)
    losses = [round(metrics["loss"], 3) for metrics in progress.history]
    return source.asked, losses, progress


def test_all_epochs_are_one_call():
    asked, losses, progress = trained()
    assert asked == [(range(4), 0)]
    assert losses == [0.1, 1.1, 2.1, 3.1]
    assert [metrics["epoch"] for metrics in progress.history] == [1, 2, 3, 4]
    assert progress.step == 0


def test_a_call_has_a_limited_number_of_images(monkeypatch):
    monkeypatch.setattr(loop, "_IMAGES_PER_CALL", 2 * STEPS + 1)
    asked, losses, _ = trained(epochs=5)
    assert asked == [(range(2), 0), (range(2, 4), 0), (range(4, 5), 0)]
    assert losses == [0.1, 1.1, 2.1, 3.1, 4.1]


def test_saving_takes_its_share_over_several_calls(monkeypatch):
    monkeypatch.setattr(loop, "_IMAGES_PER_CALL", 2 * STEPS)
    monkeypatch.setattr(training_callbacks, "SAVE_SHARE", 1e-9)  # so only the first and the last
    saved = []

    def save(progress):
        saved.append(progress.epoch)
        return training_callbacks.LARGE + 1

    asked, _, _ = trained(epochs=6, checkpoints=types.SimpleNamespace(save=save))
    assert asked == [(range(2), 0), (range(2, 4), 0), (range(4, 6), 0)]
    assert saved == [1, 6]


def test_what_is_left_of_an_epoch_is_a_call_of_its_own():
    before = Progress([{"epoch": 1, "loss": 0.1}], step=1)
    asked, losses, _ = trained(before)
    assert asked == [(range(1, 2), 1), (range(2, 4), 0)]
    assert losses == [0.1, 1.15, 2.1, 3.1]


def test_an_epoch_whose_steps_are_done_is_finished_without_a_call():
    before = Progress([], STEPS, {"loss": 7.0}, 1.0)
    asked, losses, progress = trained(before, epochs=2)
    assert asked == [(range(1, 2), 0)]
    assert losses == [7.0, 1.1]
    assert progress.history[0]["seconds"] == 1.0


def test_training_stops_early_within_a_call():
    finished = []
    asked, _, progress = trained(
        epochs=50,
        validate=lambda: {"val_loss": 1.0 + len(finished)},
        on_epoch_end=lambda progress: finished.append(progress.epoch),
    )
    assert asked == [(range(50), 0)]
    assert finished == list(range(1, PATIENCE + 2))
    assert progress.best_epoch == 1
