"""Encoders of patches on Keras' JAX and PyTorch backends give TensorFlow's vectors."""

import importlib.util

import numpy as np
import pytest

from tests.backend_process import run_on_backend

COMPUTATION = """
import sys

import keras
import numpy as np

from covid_lm.backbones.patch_embedding import build_backbone
from covid_lm.backbones.configs import BackboneConfig, PatchConfig
from covid_lm.backbones.pooled_encoder import MeanEncoder

results = {}
for stem in ("patch", "conv"):
    generator = np.random.default_rng(0)
    patches = PatchConfig(8, 4, 3, 5, stem=stem)
    config = BackboneConfig(2, 64, 4, 128, 50, 32, dropout=0.0, patches=patches)
    backbone = build_backbone(config)
    for variable in backbone.weights:
        if str(variable.dtype) == "float32":
            variable.assign(generator.normal(0, 0.1, variable.shape))
    inputs = {
        "token_ids": generator.integers(0, 50, [3, 9, 48], dtype=np.int32),
        "segment_ids": generator.integers(0, 2, [3, 9], dtype=np.int32),
        "padding_mask": (np.arange(9) < np.array([[9], [8], [7]])).astype(np.int32),
    }
    encoder = MeanEncoder(backbone, stochastic_depth=0.5, seed=1)
    results[stem] = keras.ops.convert_to_numpy(encoder(inputs))
    trained = keras.ops.convert_to_numpy(encoder(inputs, training=True))
    assert np.isfinite(trained).all() and np.abs(trained - results[stem]).max() > 1e-3
np.savez(sys.argv[1], **results)
"""


@pytest.mark.slow
def test_vectors_are_the_same_on_every_backend(tmp_path):
    found = {}
    script = tmp_path / "computation.py"
    script.write_text(COMPUTATION)
    for backend in ("tensorflow", "jax", "torch"):
        if importlib.util.find_spec(backend) is None:
            continue
        path = tmp_path / f"{backend}.npz"
        run_on_backend(backend, script, path)
        found[backend] = np.load(path)
    if len(found) < 2:
        pytest.skip("needs the jax or torch package")
    for backend, vectors in found.items():
        for stem in ("patch", "conv"):
            np.testing.assert_allclose(
                vectors[stem], found["tensorflow"][stem], atol=1e-5, err_msg=f"{backend} {stem}"
            )
