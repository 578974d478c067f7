"""Halves of a batch: results and gradients of the whole, and the threads that choose them."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from covid_lm.backbones import parallel_parts
from covid_lm.backbones.cls_encoder import ClsEncoder
from covid_lm.backbones.configs import BackboneConfig, PatchConfig
from covid_lm.backbones.masked_lm_encoder import MaskedLmEncoder
from covid_lm.backbones.parallel_parts import in_halves
from covid_lm.backbones.patch_embedding import build_backbone
from covid_lm.backbones.pooled_encoder import MeanEncoder
from covid_lm.serving.signatures import in_parts

PATCHES = PatchConfig(image_size=8, patch_size=4, channels=3, stem="conv")
ENCODERS = {
    "cls": (ClsEncoder, None),
    "masked_lm": (MaskedLmEncoder, None),
    "patches": (MeanEncoder, PATCHES),
}


@pytest.fixture
def two_threads(monkeypatch):
    monkeypatch.setattr(parallel_parts, "two_parts", lambda: True)


def make_encoder(name: str) -> keras.layers.Layer:
    encoder, patches = ENCODERS[name]
    config = BackboneConfig(
        2, 16, 2, 32, vocabulary_size=50, max_sequence_length=16, patches=patches
    )
    keras.utils.set_random_seed(0)
    return encoder(build_backbone(config), dropout=0.0)


def make_inputs(name: str, count: int) -> dict[str, tf.Tensor]:
    patches = ENCODERS[name][1]
    length = 12 if patches is None else 2 + patches.num_patches
    generator = np.random.default_rng(1)
    shape = (count, length) if patches is None else (count, length, patches.num_bytes)
    inputs = {
        "token_ids": generator.integers(0, 50, shape, dtype=np.int32),
        "segment_ids": generator.integers(0, 2, (count, length), dtype=np.int32),
        "padding_mask": (np.arange(length) < 9) * np.ones((count, 1), np.int32),
    }
    if name == "masked_lm":
        inputs["masked_positions"] = generator.integers(0, 9, (count, 3), dtype=np.int32)
    return {key: tf.constant(value, tf.int32) for key, value in inputs.items()}


@pytest.mark.parametrize("count", range(6))
def test_each_element_is_computed_and_comes_once(two_threads, count):
    x = np.arange(2 * count, dtype=np.float32).reshape(count, 2)
    shapes = []

    def double(half):
        shapes.append(tuple(half["x"].shape))
        return half["x"] * 2

    np.testing.assert_array_equal(in_halves(double, {"x": tf.constant(x)}), 2 * x)
    assert shapes == 2 * [((count + 1) // 2, 2)]


def test_a_whole_batch_without_the_threads(monkeypatch):
    monkeypatch.setattr(parallel_parts, "two_parts", lambda: False)
    assert in_halves(lambda inputs: inputs["x"], {"x": "whole"}) == "whole"


@pytest.mark.parametrize("count", [1, 4, 5])
@pytest.mark.parametrize("name", ENCODERS)
def test_results_and_gradients_are_those_of_the_whole_batch(two_threads, monkeypatch, name, count):
    encoder, inputs = make_encoder(name), make_inputs(name, count)
    # As `fit` and `predict` call it: with a batch of known and of unknown size.
    shapes = {key: tf.TensorSpec([None, *x.shape[1:]], x.dtype) for key, x in inputs.items()}
    known, unknown = (tf.function(gradients(encoder), input_signature=s) for s in (None, [shapes]))
    halves = [known(inputs), unknown(inputs)]
    monkeypatch.setattr(parallel_parts, "two_parts", lambda: False)
    whole = gradients(encoder)(inputs)
    for found in halves:
        assert len(tf.nest.flatten(found)) == len(tf.nest.flatten(whole)) > 10
        for a, b in zip(tf.nest.flatten(found), tf.nest.flatten(whole), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_an_export_has_the_same_graph_whatever_the_threads(two_threads, monkeypatch):
    encoder, inputs = make_encoder("patches"), make_inputs("patches", 1)
    specs = {key: tf.TensorSpec([None, *x.shape[1:]], x.dtype) for key, x in inputs.items()}

    def operations() -> list[int]:
        graph = in_parts(encoder, encoder, specs).get_concrete_function().graph.as_graph_def()
        return sorted(len(function.node_def) for function in graph.library.function)

    divided = operations()
    assert max(divided) > 100
    monkeypatch.setattr(parallel_parts, "two_parts", lambda: False)
    assert operations() == divided


def gradients(encoder: keras.layers.Layer):
    """A function from inputs to the encoder's output and dense gradients of all its variables."""

    def compute(inputs):
        with tf.GradientTape() as tape:
            y = encoder(inputs, training=True)
            weights = tf.cos(tf.range(tf.size(y), dtype=tf.float32))
            loss = tf.reduce_sum(tf.reshape(y, [-1]) * weights)
        found = tape.gradient(loss, [v.value for v in encoder.trainable_variables])
        return y, [tf.convert_to_tensor(x) for x in found if x is not None]

    return compute


THREADS = """
import os, sys
os.sched_getaffinity = lambda process: set(range(int(sys.argv[1])))
import tensorflow as tf
from covid_lm.backbones.parallel_parts import prefer_two_parts, two_parts
if sys.argv[2] == "late":
    tf.constant(1) + 1
prefer_two_parts()
threading = tf.config.threading
print(threading.get_intra_op_parallelism_threads(), threading.get_inter_op_parallelism_threads())
print(two_parts())
"""


@pytest.mark.parametrize(
    ("cores", "when", "printed"),
    [("2", "early", "1 2 True"), ("3", "early", "0 0 False"), ("2", "late", "0 0 False")],
)
def test_threads_are_set_on_two_cores_before_tensorflow_runs(cores, when, printed):
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("with a GPU, no threads are set")
    command = [sys.executable, "-c", THREADS, cores, when]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.split() == printed.split()
