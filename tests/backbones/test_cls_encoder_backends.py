"""The encoders on Keras' JAX and PyTorch backends, each in a separate process."""

import importlib.util

import pytest

from tests.backend_process import run_on_backend

pytestmark = pytest.mark.slow

COMPARISON = '''
"""Prints the largest differences between the encoders and the library's backbone."""
import sys

import keras
import numpy as np

from covid_lm.backbones.patch_embedding import build_backbone
from covid_lm.backbones.cls_encoder import ClsEncoder
from covid_lm.backbones.masked_lm_encoder import MaskedLmEncoder
from covid_lm.backbones.masked_lm_encoder import MaskedLmHead
from covid_lm.backbones.configs import BackboneConfig

keras.utils.set_random_seed(0)
generator = np.random.default_rng(0)
config = BackboneConfig(2, 64, 4, 128, vocabulary_size=50, max_sequence_length=32)
backbone = build_backbone(config)
for variable in backbone.weights:
    noise = generator.normal(0, 0.1, variable.shape)
    variable.assign(keras.ops.convert_to_numpy(variable) + noise)
encoder = ClsEncoder(backbone, activation="gelu_approximate", dropout=0.0)
lengths = np.array([[24], [13], [5]])
inputs = {
    "token_ids": generator.integers(0, 50, [3, 24], dtype=np.int32),
    "segment_ids": generator.integers(0, 2, [3, 24], dtype=np.int32),
    "padding_mask": (np.arange(24) < lengths).astype(np.int32),
}
symbolic = {name: keras.Input((24,), dtype="int32", name=name) for name in inputs}
fast = keras.Model(symbolic, encoder(symbolic))
library = keras.Model(symbolic, backbone(symbolic)["sequence_output"][:, 0])
target = generator.normal(size=(3, 64)).astype(np.float32)


def gradients(model, training):
    """By variable path."""
    if keras.backend.backend() == "torch":
        model.zero_grad()
        output = model(inputs, training=training)
        keras.ops.sum(output * keras.ops.convert_to_tensor(target)).backward()
        values = [variable.value.grad for variable in model.trainable_variables]
    else:
        import jax

        def loss(trainable, fixed):
            output, _ = model.stateless_call(trainable, fixed, inputs, training=training)
            return keras.ops.sum(output * target)

        values = jax.jit(jax.grad(loss))(
            [variable.value for variable in model.trainable_variables],
            [variable.value for variable in model.non_trainable_variables],
        )
    paths = [variable.path for variable in model.trainable_variables]
    return {
        path: keras.ops.convert_to_numpy(value).copy()
        for path, value in zip(paths, values, strict=True)
    }


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


forward = np.abs(numpy(fast(inputs)) - numpy(library(inputs))).max()
masked_encoder = MaskedLmEncoder(backbone, activation="gelu_approximate", dropout=0.0)
masked = {**inputs, "masked_positions": np.array([[0, 23], [7, 12], [4, 1]], np.int32)}
states = numpy(masked_encoder(masked))
whole = numpy(backbone(inputs)["sequence_output"])
expected = np.take_along_axis(whole, masked["masked_positions"][..., None], axis=1)
forward = max(forward, np.abs(states - expected).max())
head = MaskedLmHead(backbone.token_embedding, [3, 5, 8])
assert numpy(head(masked_encoder(masked, training=True))).shape == (3, 2, 3)
# The library's side runs without its dropout; the encoder's, of rate 0, runs as in training.
ours, theirs = gradients(fast, True), gradients(library, False)
assert ours.keys() == theirs.keys()
backward = max(np.abs(ours[path] - theirs[path]).max() for path in ours)
encoder.dropout = 0.1
dropped = numpy(fast(inputs, training=True))
assert np.isfinite(dropped).all()
active = np.abs(dropped - numpy(fast(inputs))).max()
backbone16 = build_backbone(config, dtype="mixed_bfloat16")
encoder16 = ClsEncoder(backbone16, activation="gelu_approximate")
encoder16.backbone.set_weights(backbone.get_weights())
mixed = numpy(keras.ops.cast(encoder16(inputs), "float32"))
rounding = np.abs(mixed - numpy(fast(inputs))).mean()
before = numpy(fast(inputs))
for fixed in (encoder, encoder16):
    fixed.fix_weights()
looked_up = np.abs(numpy(encoder(inputs)) - before).max()
constants = np.abs(numpy(keras.ops.cast(encoder16(inputs), "float32")) - mixed).mean()
assert 0 < looked_up < 5e-6, looked_up
assert constants < 0.02, constants
print(keras.backend.backend(), forward, backward, active, rounding)
'''


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_equals_the_library_on_backend(backend, tmp_path):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"needs the {backend} package")
    script = tmp_path / "comparison.py"
    script.write_text(COMPARISON)
    name, *figures = run_on_backend(backend, script).split()
    assert name == backend
    forward, backward, active, mixed = map(float, figures)
    assert forward < 1e-5
    assert backward < 1e-4
    assert active > 1e-2
    assert mixed < 0.02
