"""Explicit gradients of normalization and GELU against those of automatic differentiation."""

import platform

import keras
import numpy as np
import pytest
import tensorflow as tf

from covid_lm.backbones.elementwise import (
    gelu,
    gelu_in_training,
    normalize,
    normalize_fused,
    normalize_in_training,
)

EPSILON = 1e-12
GENERATOR = np.random.default_rng(0)
X = (GENERATOR.normal(size=(40, 24)) * 2 + 0.5).astype(np.float32)
UPSTREAM = GENERATOR.normal(size=(40, 24)).astype(np.float32)
GAMMA, BETA = GENERATOR.normal(size=(2, 24)).astype(np.float32)


def with_gradients(function, dtype: str, *inputs: np.ndarray) -> list[np.ndarray]:
    """The result and the gradients of all inputs, as within a training step."""
    tensors = [tf.cast(value, dtype) for value in inputs]

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            y = function(*tensors)
        return [y, *tape.gradient(y, tensors, tf.cast(UPSTREAM, dtype))]

    values = step()
    assert {value.dtype for value in values} == {tf.as_dtype(dtype)}
    return [value.numpy().astype(np.float64) for value in values]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 2e-2)])
def test_gelu(dtype, tolerance):
    """The bfloat16 result is close to that of float32, to 8 bits."""
    x = np.concatenate([X, np.linspace(-12, 12, 960, dtype=np.float32).reshape(40, 24)])[:40]
    x = np.asarray(tf.cast(tf.cast(x, dtype), tf.float32))
    expected = with_gradients(gelu, "float32", x)
    for found, value in zip(with_gradients(gelu_in_training, dtype, x), expected, strict=True):
        np.testing.assert_allclose(found, value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 2e-2)])
def test_normalization(dtype, tolerance):
    inputs = [np.asarray(tf.cast(tf.cast(x, dtype), tf.float32)) for x in (X, GAMMA, BETA)]
    expected = with_gradients(lambda *x: normalize(*x, EPSILON), "float32", *inputs)
    found = with_gradients(lambda *x: normalize_in_training(*x, EPSILON), dtype, *inputs)
    for ours, value in zip(found, expected, strict=True):
        scale = np.abs(value).max()
        np.testing.assert_allclose(ours / scale, value / scale, atol=tolerance)


@pytest.mark.parametrize("rows", [40, None])  # None: unknown to TensorFlow, as in an export
@pytest.mark.parametrize("epsilon", [1e-12, 1e-2])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("bfloat16", 3e-2)])
def test_fused_normalization(dtype, tolerance, epsilon, rows):
    """Against float64, for rows of unit and of tiny variance and far from 0."""
    for x in (X, X * 1e-3, X + 30):
        x, gamma, beta = (tf.cast(values, dtype) for values in (x, GAMMA, BETA))
        signature = [tf.TensorSpec([rows, 24], dtype)]
        function = tf.function(
            lambda x, gamma=gamma, beta=beta: normalize_fused(x, gamma, beta, epsilon),
            input_signature=signature,
        )
        exact, gamma, beta = (np.asarray(tf.cast(v, tf.float64)) for v in (x, gamma, beta))
        centered = exact - exact.mean(-1, keepdims=True)
        variance = np.square(centered).mean(-1, keepdims=True)
        expected = centered / np.sqrt(variance + epsilon) * gamma + beta
        np.testing.assert_allclose(function(x), expected, rtol=tolerance, atol=3 * tolerance)
        assert function(x[:0]).shape == (0, 24) if rows is None else True


def test_against_the_layers_of_keras():
    layer = keras.layers.LayerNormalization(epsilon=EPSILON)
    layer.build(X.shape)
    layer.set_weights([GAMMA, BETA])
    found = normalize_in_training(tf.constant(X), layer.gamma, layer.beta, EPSILON)
    np.testing.assert_allclose(found, layer(X), atol=2e-6)
    exact = keras.activations.gelu(X, approximate=False)
    np.testing.assert_allclose(gelu_in_training(tf.constant(X)), exact, atol=1e-6)


def test_saturated_values_have_finite_gradients():
    extreme = np.full((40, 24), 1e4, np.float32) * np.sign(X)
    y, gradient = with_gradients(gelu_in_training, "float32", extreme)
    np.testing.assert_allclose(y, np.where(X > 0, 1e4, 0), atol=2e-3)
    np.testing.assert_allclose(gradient, np.where(X > 0, UPSTREAM, 0), atol=1e-6)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN fuses on x86 only")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tensorflow_fuses_gelu_with_the_product_before_it(dtype):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(dtype, [None, 16])
        y = gelu(keras.ops.add(tf.matmul(x, tf.ones([16, 32], dtype)), tf.ones([32], dtype)))
        options = tf.compat.v1.RunOptions(output_partition_graphs=True)
        metadata = tf.compat.v1.RunMetadata()
        session.run(y, {x: np.ones([64, 16])}, options, metadata)
    nodes = [node for graph in metadata.partition_graphs for node in graph.node]
    fused = [list(node.attr["fused_ops"].list.s) for node in nodes if "FusedMatMul" in node.op]
    assert fused == [[b"BiasAdd", b"GeluExact"]]


def test_litert_has_gelu_as_an_operation():
    inputs = [tf.TensorSpec([None, 8])]
    graph = tf.function(gelu, input_signature=inputs).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([graph])
    assert b"FlexErf" not in converter.convert()  # raises if LiteRT lacks an operation
