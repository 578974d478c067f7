"""The epoch loop on Keras' JAX backend with a device that isn't the CPU."""

import importlib.util

import pytest

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
