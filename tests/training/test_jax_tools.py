"""The tools on Keras' JAX backend: training with augmentation, folds, and pre-training."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs the jax package"),
]
SMALL = ("--layout=patches16x8", "--backbone=1x64", "--protocol=absent", "--batch_size=32")


def run(tool: str, *flags: str, backend: str) -> str:
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"}
    finished = subprocess.run(
        [sys.executable, f"tools/{tool}.py", "--dataset=phantom", *SMALL, *flags],
        env={**environment, "KERAS_BACKEND": backend},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return finished.stdout


@pytest.mark.parametrize("changes", [("--augment=erase", "--mix=both"), ("--augment=crop",)])
def test_augmented_training_loses_as_much_on_both_backends(changes, tmp_path):
    """Without dropout, batches and updates are the same."""
    losses = {}
    for backend in ("tensorflow", "jax"):
        flags = (f"--output_dir={tmp_path}", f"--name={backend}", "--dropout=0", "--epochs=2")
        run("train", *flags, *changes, "--early_stopping=none", "--stem=patch", backend=backend)
        lines = (tmp_path / backend / "run" / "metrics.jsonl").read_text().splitlines()
        losses[backend] = [json.loads(line)["loss"] for line in lines]
    assert losses["jax"] == pytest.approx(losses["tensorflow"], abs=5e-3)


def test_folds(tmp_path):
    output = tmp_path / "folds.json"
    flags = (f"--output={output}", "--max_folds=1", "--epochs=1", "--augment=heavy")
    run("cross_validate", *flags, backend="jax")
    report = json.loads(output.read_text())
    assert report["command"].startswith("KERAS_BACKEND=jax python tools/cross_validate.py")
    assert report["folds_done"] == 1


def test_pretraining(tmp_path):
    """Its weights are read on TensorFlow."""
    flags = (f"--output_dir={tmp_path}", "--objective=bytes", "--epochs=1", "--dtype=bfloat16")
    run("pretrain", *flags, "--name=pretrained", backend="jax")
    weights = tmp_path / "pretrained" / "weights"
    flags = (f"--output_dir={tmp_path}", f"--weights={weights}", "--epochs=1", "--name=tuned")
    run("train", *flags, backend="tensorflow")
