"""Steps of a Keras model on the JAX backend, compiled once; they end when the device has ended."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


def inference_step(model: Any, inputs: dict[str, np.ndarray]) -> Callable[[], np.ndarray]:
    """Build a step that computes the model's output for inputs which are on the device."""
    inputs = jax.device_put(inputs)
    trainable, others = _values(model.trainable_variables), _values(model.non_trainable_variables)

    @jax.jit
    def predict(trainable, others, inputs):
        output, _ = model.stateless_call(trainable, others, inputs, training=False)
        return output

    return lambda: np.asarray(predict(trainable, others, inputs))


def training_step(
    model: Any, loss: Any, optimizer: Any, inputs: dict[str, np.ndarray], targets: np.ndarray
) -> Callable[[], float]:
    """Build a step of forward pass, backward pass and optimizer, which gives the loss."""
    inputs, targets = jax.device_put((inputs, targets))
    optimizer.build(model.trainable_variables)

    def compute_loss(trainable, others, inputs, targets):
        output, others = model.stateless_call(trainable, others, inputs, training=True)
        return loss(targets, output), others

    differentiate = jax.value_and_grad(compute_loss, has_aux=True)

    @functools.partial(jax.jit, donate_argnums=0)
    def update(state, inputs, targets):
        trainable, others, moments = state
        (value, others), gradients = differentiate(trainable, others, inputs, targets)
        trainable, moments = optimizer.stateless_apply(moments, gradients, trainable)
        return (trainable, others, moments), value

    groups = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
    # Copies, since the step overwrites its state.
    state = jax.tree.map(jax.numpy.copy, tuple(_values(group) for group in groups))

    def step() -> float:
        nonlocal state
        state, value = update(state, inputs, targets)
        return float(value)

    return step


def peak_bytes() -> int:
    """Largest memory of the first device that this process has used so far."""
    return int((jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0))


def _values(variables: list) -> list[jax.Array]:
    return [variable.value for variable in variables]
