"""Explicit gradients of the training passes against those of automatic differentiation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from covid_lm.backbones import training_passes
from covid_lm.backbones.elementwise import ACTIVATIONS, keep_mask, normalize
from covid_lm.backbones.training_passes import (
    activate_in_training,
    dropout_in_training,
    look_up_in_training,
    normalize_sum_in_training,
    split_in_training,
)

EPSILON = 1e-12
GENERATOR = np.random.default_rng(0)
X, PRODUCT = (GENERATOR.normal(size=(2, 40, 24)) * 2 + 0.5).astype(np.float32)
BIAS, GAMMA, BETA = GENERATOR.normal(size=(3, 24)).astype(np.float32)
UPSTREAM = GENERATOR.normal(size=(40, 24)).astype(np.float32)
FACTORS = np.repeat([[1.0], [0.0], [1.25], [1.25]], 10, axis=0).astype(np.float32)
SEED = np.array([3, 4], np.int32)
PRECISIONS = pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 2e-2)]
)


def with_gradients(function, dtype: str, *inputs: np.ndarray) -> list[np.ndarray]:
    """The result and the gradients of all inputs, as within a training step."""
    tensors = [tf.cast(value, dtype) for value in inputs]

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            y = function(*tensors)
        upstream = tf.cast(tf.reshape(UPSTREAM, y.shape), dtype)
        gradients = tape.gradient(y, tensors, upstream)
        return [y, *map(tf.convert_to_tensor, gradients)]

    values = step()
    assert {value.dtype for value in values} == {tf.as_dtype(dtype)}
    return [value.numpy().astype(np.float64) for value in values]


def compare(ours, automatic, dtype: str, tolerance: float, *inputs: np.ndarray) -> None:
    """Compare with automatic differentiation in float32, relative to each tensor's largest value.

    The bfloat16 result is close to that of float32, to 8 bits.
    """
    inputs = [np.asarray(tf.cast(tf.cast(x, dtype), tf.float32)) for x in inputs]
    expected = with_gradients(automatic, "float32", *inputs)
    for found, value in zip(with_gradients(ours, dtype, *inputs), expected, strict=True):
        scale = np.abs(value).max()
        np.testing.assert_allclose(found / scale, value / scale, atol=tolerance)


@PRECISIONS
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name, dtype, tolerance):
    wide = np.concatenate([X, np.linspace(-12, 12, 960, dtype=np.float32).reshape(40, 24)])[:40]

    def automatic(product, bias):
        return ACTIVATIONS[name](product + bias)

    def ours(product, bias):
        return activate_in_training(product, bias, name)

    # TensorFlow's float32 tanh, near 1, is less accurate than erf.
    tolerance = max(tolerance, 5e-6) if name == "gelu_approximate" else tolerance
    compare(ours, automatic, dtype, tolerance, wide, BIAS)


def test_against_the_layers_of_keras():
    layer = keras.layers.LayerNormalization(epsilon=EPSILON)
    layer.build(X.shape)
    layer.set_weights([GAMMA, BETA])
    found = normalize_sum_in_training(tf.constant(X), tf.constant(PRODUCT), BIAS, layer, EPSILON)
    np.testing.assert_allclose(found, layer(X + PRODUCT + BIAS), atol=2e-6)
    for name, approximate in (("gelu", False), ("gelu_approximate", True)):
        exact = keras.activations.gelu(X + BIAS, approximate=approximate)
        found = activate_in_training(tf.constant(X), BIAS, name)
        np.testing.assert_allclose(found, exact, atol=1e-6)


def test_saturated_values_have_finite_gradients():
    extreme, zero = np.full((40, 24), 1e4, np.float32) * np.sign(X), np.zeros(24, np.float32)
    for name in ACTIVATIONS:

        def activate(product, bias, name=name):
            return activate_in_training(product, bias, name)

        y, gradient, _ = with_gradients(activate, "float32", extreme, zero)
        np.testing.assert_allclose(y, np.where(X > 0, 1e4, 0), atol=2e-3)
        np.testing.assert_allclose(gradient, np.where(X > 0, UPSTREAM, 0), atol=1e-6)


@PRECISIONS
@pytest.mark.parametrize("factors", [None, FACTORS])
@pytest.mark.parametrize("rate", [0.0, 0.4])
def test_end_of_a_branch(rate, factors, dtype, tolerance):
    norm = keras.layers.LayerNormalization()
    seed = tf.constant(SEED) if rate else None
    keep = tf.cast(keep_mask((40, 24), rate, SEED), tf.float32) / (1 - rate) if rate else 1.0

    def automatic(x, product, bias, gamma, beta):
        branch = (product + bias) * keep * (1.0 if factors is None else factors)
        return normalize(x + branch, gamma, beta, EPSILON)

    def ours(x, product, bias, gamma, beta):
        norm.gamma, norm.beta = gamma, beta
        return normalize_sum_in_training(x, product, bias, norm, EPSILON, rate, seed, factors)

    compare(ours, automatic, dtype, tolerance, X, PRODUCT, BIAS, GAMMA, BETA)


@PRECISIONS
def test_heads_are_split(dtype, tolerance):
    """Rows of 2 images with 20 tokens; units of 3 groups with 2 heads of size 4."""

    def automatic(product, bias):
        x = tf.reshape(product + bias, (2, 20, 3, 2, 4))
        return tf.stack([tf.transpose(x[:, :, group], (0, 2, 1, 3)) for group in range(3)])

    def ours(product, bias):
        return split_in_training(product, bias, (20, 3, 2, 4))

    compare(ours, automatic, dtype, tolerance, PRODUCT, BIAS)


def test_dropout_passes_the_gradient_where_it_kept():
    keep = keep_mask((40, 24), 0.4, SEED).numpy() / 0.6
    found = with_gradients(lambda x: dropout_in_training(x, 0.4, SEED), "float32", X)
    np.testing.assert_allclose(found, [X * keep, UPSTREAM * keep], rtol=1e-6)


@pytest.mark.parametrize("counted", [True, False])
def test_rows_of_a_table(counted, monkeypatch):
    """Ids that occur often, once and never."""
    monkeypatch.setattr(training_passes, "two_parts", lambda: counted)
    ids = np.minimum(GENERATOR.geometric(0.3, size=(40, 8)), 9).astype(np.int32)
    table = GENERATOR.normal(size=(11, 3)).astype(np.float32)
    y, gradient = with_gradients(lambda x: look_up_in_training(x, ids), "float32", table)
    np.testing.assert_array_equal(y, table[ids])
    expected = np.zeros((11, 3))
    np.add.at(expected, ids, UPSTREAM.reshape(40, 8, 3))
    np.testing.assert_allclose(gradient, expected, atol=1e-5)
