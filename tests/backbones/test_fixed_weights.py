"""Encoders after `fix_weights`: the same vectors, from tables and constants."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager import context

from covid_lm.backbones import fixed_weights
from covid_lm.backbones.cls_encoder import ClsEncoder
from covid_lm.backbones.configs import BackboneConfig, PatchConfig
from covid_lm.backbones.fixed_weights import FixedWeights
from covid_lm.backbones.parallel_parts import TokenBlocks
from covid_lm.backbones.patch_embedding import build_backbone
from covid_lm.backbones.pooled_encoder import MeanEncoder
from covid_lm.serving.signatures import in_parts

CONFIG = BackboneConfig(3, 64, 4, 128, vocabulary_size=50, max_sequence_length=32)
LENGTH = 24
WORDS = np.arange(3, 40, 2)  # the only ones in the inputs


def make_inputs() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    shape = (3, LENGTH)
    return {
        "token_ids": generator.choice(WORDS, shape).astype(np.int32),
        "segment_ids": generator.integers(0, 2, shape, dtype=np.int32),
        "padding_mask": (np.arange(LENGTH) < [[24], [13], [5]]).astype(np.int32),
    }


def make_backbone(dtype: str = "float32", **changes):
    """A backbone whose biases and normalizations aren't at their 0 and 1."""
    keras.utils.set_random_seed(0)
    backbone = build_backbone(dataclasses.replace(CONFIG, **changes), dtype=dtype)
    generator = np.random.default_rng(2)
    for variable in backbone.weights:
        variable.assign(tf.cast(variable, "float32") + generator.normal(0, 0.1, variable.shape))
    return backbone


def traced(encoder, inputs: dict):
    """A function for batches of any size, as exports have it."""
    signature = {name: tf.TensorSpec([None, *x.shape[1:]], tf.int32) for name, x in inputs.items()}
    return tf.function(
        lambda inputs: tf.cast(encoder(inputs, training=False), tf.float32),
        input_signature=[signature],
    )


def outputs(encoder, inputs=None) -> tuple[np.ndarray, list[tf.Operation]]:
    """What a traced function gives, in float32, and its products of a matrix by weights."""
    inputs = {name: tf.constant(values) for name, values in (inputs or make_inputs()).items()}
    function = traced(encoder, inputs)
    graph = function.get_concrete_function().graph
    products = [op for op in graph.get_operations() if op.type == "MatMul"]
    return function(inputs).numpy(), products


def optimized_nodes(encoder) -> list:
    """The nodes that TensorFlow executes on a CPU after it has fused what it can."""
    function, inputs = traced(encoder, make_inputs()), make_inputs()
    execution = context.context()
    execution.enable_run_metadata()
    try:
        function({name: tf.constant(values) for name, values in inputs.items()})
        graphs = execution.export_run_metadata().function_graphs
    finally:
        execution.disable_run_metadata()
    return [node for graph in graphs for node in graph.post_optimization_graph.node]


@pytest.mark.parametrize("kind", [ClsEncoder, MeanEncoder])
@pytest.mark.parametrize("words", [None, WORDS])
def test_the_first_layer_is_looked_up_in_float32(kind, words):
    encoder = kind(make_backbone())
    expected, products = outputs(encoder)
    encoder.fix_weights(words)
    actual, fewer = outputs(encoder)
    np.testing.assert_allclose(actual, expected, atol=3e-6)
    assert len(fewer) == len(products) - 1
    widths = [[op.outputs[0].shape[-1] for op in ops].count(3 * 64) for ops in (products, fewer)]
    assert widths[0] - widths[1] == 1


def test_tables_hold_only_the_words_in_use():
    table = FixedWeights(make_backbone(), "float32", WORDS).first_layer
    rows = 2 * len(WORDS)
    assert table.num_bytes == (rows * (3 * 64 + 32) + 32 * 3 * 64) * 4


def test_small_kernels_are_constants_in_float32():
    encoder = MeanEncoder(make_backbone())
    encoder.fix_weights()
    assert all(op.inputs[1].op.type == "Const" for op in outputs(encoder)[1])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("scores", [1, 3 * LENGTH**2, 100 * LENGTH**2])
def test_heads_in_groups(monkeypatch, scores, dtype):
    """Groups of 1, 2 and 6 heads, where each head has other weights."""
    backbone = make_backbone(dtype, hidden_dim=48, num_heads=6, max_sequence_length=LENGTH)
    encoder = MeanEncoder(backbone)
    expected, _ = outputs(encoder)
    monkeypatch.setattr(fixed_weights, "SCORES", scores)
    encoder.fix_weights()
    assert encoder._fixed.head_groups == {1: 6, 3 * LENGTH**2: 2}.get(scores, 1)
    actual, _ = outputs(encoder)
    tolerance = {"float32": 3e-6, "bfloat16": 0.01 * np.abs(expected).mean()}[dtype]
    assert np.abs(actual - expected).mean() < tolerance


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_normalizations_and_residuals_are_fused_on_a_cpu(dtype):
    """TensorFlow runs one operation per normalization, and adds residuals within the products."""
    encoder = MeanEncoder(make_backbone(dtype))
    encoder.fix_weights(WORDS)
    nodes = optimized_nodes(encoder)
    operations = [node.op for node in nodes]
    if not any(operation.startswith("_Mkl") for operation in operations):
        pytest.skip("TensorFlow has no oneDNN here")
    assert operations.count("_MklLayerNorm") == 7
    assert "Rsqrt" not in operations
    fused = [tuple(node.attr["fused_ops"].list.s) for node in nodes if "fused_ops" in node.attr]
    assert fused.count((b"BiasAdd", b"Add")) == 6
    assert fused.count((b"BiasAdd", b"GeluExact")) == 3


@pytest.mark.parametrize("dtype", ["bfloat16", "mixed_bfloat16"])
def test_kernels_are_constants_in_bfloat16(dtype):
    encoder = ClsEncoder(make_backbone(dtype))
    expected, products = outputs(encoder)
    encoder.fix_weights()
    actual, constant = outputs(encoder)
    assert np.abs(actual - expected).mean() < 0.01 * np.abs(expected).mean()
    assert not any(op.inputs[1].op.type == "Const" for op in products)
    assert all(op.inputs[1].op.type == "Const" for op in constant)
    assert len(constant) == len(products)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_kernels_beyond_the_limit_stay_variables(monkeypatch, dtype):
    monkeypatch.setattr(fixed_weights, "MOST_NUMBER", 10_000)
    monkeypatch.setattr(fixed_weights, "SMALL_NUMBER", 10_000)
    encoder = ClsEncoder(make_backbone(dtype))
    encoder.fix_weights()
    assert not any(op.inputs[1].op.type == "Const" for op in outputs(encoder)[1])


def test_patches_are_computed():
    patches = PatchConfig(image_size=16, patch_size=4, channels=1)
    encoder = MeanEncoder(make_backbone(patches=patches))
    shape = (3, patches.num_patches)
    ids = np.random.default_rng(0).integers(0, 50, (*shape, 16), dtype=np.int32)
    zeros = np.zeros(shape, np.int32)
    inputs = {"token_ids": ids, "segment_ids": zeros, "padding_mask": zeros + 1}
    expected = outputs(encoder, inputs)[0]
    encoder.fix_weights()
    np.testing.assert_allclose(outputs(encoder, inputs)[0], expected, atol=1e-6)


def test_one_layer_is_computed():
    encoder = ClsEncoder(make_backbone(num_layers=1))
    expected = outputs(encoder)[0]
    encoder.fix_weights(WORDS)
    np.testing.assert_allclose(outputs(encoder)[0], expected, atol=2e-6)


def test_a_fixed_encoder_is_not_trained():
    encoder = ClsEncoder(make_backbone())
    encoder.fix_weights()
    with pytest.raises(RuntimeError, match="can't be trained after fix_weights"):
        encoder(make_inputs(), training=True)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("kind", [ClsEncoder, MeanEncoder])
def test_tokens_in_blocks_give_the_same_vectors(kind, count, fixed):
    encoder, inputs = kind(make_backbone()), make_inputs()
    expected = encoder(inputs, training=False)
    if fixed:
        encoder.fix_weights(WORDS)
    with encoder.in_blocks(count):
        actual, products = outputs(encoder)
    np.testing.assert_allclose(actual, expected, atol=3e-6)
    assert len(products) > len(outputs(encoder)[1])


def test_blocks_of_tokens():
    blocks = TokenBlocks(3)
    assert blocks.lengths(8) == [2, 3, 3]
    x = np.arange(2 * 8 * 5).reshape(2 * 8, 5)
    parts = [np.asarray(part) for part in blocks.split(x, 8)]
    assert [part.shape for part in parts] == [(4, 5), (6, 5), (6, 5)]
    np.testing.assert_array_equal(parts[1], np.concatenate([x[2:5], x[10:13]]))
    np.testing.assert_array_equal(blocks.join(parts, 8), x)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_parts_share_constants(dtype):
    encoder = ClsEncoder(make_backbone(dtype))
    encoder.fix_weights(WORDS)
    specs = {name: tf.TensorSpec([None, LENGTH], tf.int32) for name in make_inputs()}
    whole = in_parts(lambda inputs: encoder(inputs, training=False), encoder, specs)
    inputs = {name: tf.constant(values) for name, values in make_inputs().items()}
    for count in (1, 2, 3):
        some = {name: values[:count] for name, values in inputs.items()}
        expected = tf.cast(encoder(some, training=False), tf.float32)
        actual = tf.cast(whole(some), tf.float32)
        np.testing.assert_allclose(actual, expected, atol=3e-6 if dtype == "float32" else 0.06)
    graph = whole.get_concrete_function().graph
    functions = list(graph.as_graph_def().library.function)
    sizes = [
        len(node.attr["value"].tensor.tensor_content)
        for nodes in (graph.as_graph_def().node, *(each.node_def for each in functions))
        for node in nodes
        if node.op == "Const"
    ]
    large = sorted(size for size in sizes if size > 1000)
    alone = traced(encoder, make_inputs()).get_concrete_function().graph.as_graph_def()
    constants = [node for node in alone.node if node.op == "Const"]
    contents = [len(node.attr["value"].tensor.tensor_content) for node in constants]
    assert large == sorted(size for size in contents if size > 1000)
