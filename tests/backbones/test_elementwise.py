"""Activations, normalization and dropout against Keras' layers, and their statistics."""

import platform

import keras
import numpy as np
import pytest
import tensorflow as tf

from covid_lm.backbones.elementwise import (
    branch_factors,
    draw_seed,
    drop,
    gelu,
    keep_mask,
    normalize,
    normalize_fused,
)

EPSILON = 1e-12
GENERATOR = np.random.default_rng(0)
X = (GENERATOR.normal(size=(40, 24)) * 2 + 0.5).astype(np.float32)
GAMMA, BETA = GENERATOR.normal(size=(42, 24))[40:].astype(np.float32)


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
    found = normalize(tf.constant(X), layer.gamma, layer.beta, EPSILON)
    np.testing.assert_allclose(found, layer(X), atol=2e-6)
    exact = keras.activations.gelu(X, approximate=False)
    np.testing.assert_allclose(gelu(tf.constant(X)), exact, atol=1e-6)


def hashed(x: int) -> int:
    """Wellons' lowbias32, as published, of unsigned integers."""
    x ^= x >> 16
    x = x * 0x7FEB352D % 2**32
    x ^= x >> 15
    x = x * 0x846CA68B % 2**32
    return x ^ x >> 16


def test_keep_mask_is_a_hash_of_index_and_seed():
    seed = np.array([-123456789, 7], np.int32)
    key = hashed((hashed(-123456789 % 2**32) + 7) % 2**32)
    factor = hashed((key + 1) % 2**32) | 1
    bits = [hashed((index * factor + key) % 2**32) for index in range(60)]
    signed = np.array(bits, np.uint32).astype(np.int32)
    expected = signed.reshape(3, 4, 5) >= round(0.3 * 2**32) - 2**31
    np.testing.assert_array_equal(keep_mask((3, 4, 5), 0.3, tf.constant(seed)), expected)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5])
def test_dropout_rate_and_independence(rate):
    """Four standard errors: of the rate, and of correlations with neighbours and the next seed."""
    generator = keras.random.SeedGenerator(3)
    first, second = (
        drop(keras.ops.ones((1000, 501)), rate, draw_seed(generator)).numpy() for _ in range(2)
    )
    kept = first != 0
    np.testing.assert_allclose(first[kept], 1 / (1 - rate), rtol=1e-6)
    assert abs(kept.mean() - (1 - rate)) < 4 * (rate * (1 - rate) / kept.size) ** 0.5
    pairs = [(kept, second != 0), (kept[1:], kept[:-1]), (kept[:, 1:], kept[:, :-1])]
    pairs.append((kept[:, :250], kept[:, 250:500]))
    for one, other in pairs:
        correlation = np.corrcoef(one.ravel(), other.ravel())[0, 1]
        assert abs(correlation) < 4 / one.size**0.5


def test_dropout_mask_varies_along_every_axis():
    keep = keep_mask((4, 5, 6, 7), 0.5, tf.constant([0, 0])).numpy()
    for axis in range(4):
        assert (keep != np.roll(keep, 1, axis=axis)).any()


def test_images_without_a_branch_lack_it_in_all_rows():
    factors = branch_factors(4000, 3, 0.25, tf.constant([1, 2])).numpy()
    assert factors.shape == (12000, 1)
    by_image = factors.reshape(4000, 3)
    np.testing.assert_array_equal(by_image, by_image[:, :1].repeat(3, 1))
    np.testing.assert_allclose(np.unique(factors), [0, 4 / 3], rtol=1e-6)
    assert abs((by_image[:, 0] == 0).mean() - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5


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
