"""Training on Keras' JAX backend, in one process and in two, compared with TensorFlow."""

import functools
import importlib.util
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from tests.conftest import REPOSITORY

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="needs the jax package"),
]
PATH = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(PATH), "JAX_PLATFORMS": "cpu"}


def free_port() -> str:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return str(listening.getsockname()[1])


def start(*arguments: str, backend: str = "tensorflow") -> subprocess.Popen:
    environment = {**ENVIRONMENT, "KERAS_BACKEND": backend}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, *arguments],
        env=environment,
        stdout=pipe,
        stderr=pipe,
        text=True,
        cwd=REPOSITORY,
    )


def output(process: subprocess.Popen) -> str:
    out, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return out


@functools.cache
def curves(num_processes: int, dropout: float) -> list[dict]:
    """The results of each process of one training."""
    port = free_port()
    processes = [
        start(
            "-m", "tests.training.jax_curves", str(num_processes), str(number), port, str(dropout)
        )
        for number in range(num_processes)
    ]
    return [json.loads(output(process).splitlines()[-1]) for process in processes]


def assert_close(one, other, tolerance=1e-5):
    np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_two_processes_train_as_one_does(dropout):
    """With dropout too: JAX's generator draws the same numbers however a batch is divided."""
    (one,), two = curves(1, dropout), curves(2, dropout)
    assert len(one["losses"]) == 20
    assert max(one["losses"]) - min(one["losses"]) > 0.1  # a curve, and not a constant
    assert two[0]["losses"] == two[1]["losses"]
    assert_close(two[0]["losses"], one["losses"])
    assert_close(two[0]["probabilities"], one["probabilities"])
    for ours, theirs in zip(two[0]["epochs"], one["epochs"], strict=True):
        assert_close(ours["val_loss"], theirs["val_loss"])
        assert ours["val_accuracy"] == theirs["val_accuracy"]


def test_jax_trains_as_tensorflow_does():
    (one,) = curves(1, 0.0)
    assert_close(one["losses"], one["tensorflow"])


def test_dropout_drops():
    assert (
        np.abs(np.subtract(curves(1, 0.0)[0]["losses"], curves(1, 0.1)[0]["losses"])).max() > 1e-3
    )


def test_only_process_0_writes():
    assert curves(2, 0.0)[1]["written"] == []


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("num_processes", [1, 2])
def test_every_validation_image_counts_once(num_processes, dropout):
    """On JAX, 17 images in batches of 8, the last filled up; on TensorFlow, one by one.

    With dropout the weights are averaged: both evaluate the averages.
    """
    result = curves(num_processes, dropout)[0]
    best = min(result["epochs"], key=lambda epoch: epoch["val_loss"])
    assert best["val_loss"] == pytest.approx(result["validation"]["val_loss"], abs=1e-5)
    assert best["val_accuracy"] == pytest.approx(result["validation"]["val_accuracy"], abs=1e-6)
    assert best["val_accuracy"] * 17 == pytest.approx(round(best["val_accuracy"] * 17), abs=1e-4)


def train(image_folder, output_dir, num_processes=1, process_id=0, port="", **flags):
    told = {
        "dataset": "folder",
        "data_dir": image_folder,
        "backbone": "1x64",
        "epochs": 2,
        "batch_size": 6,
        "output_dir": output_dir,
        "name": "run-1",
        **flags,
    }
    if num_processes > 1:
        told |= {"num_processes": num_processes, "process_id": process_id}
        told["coordinator"] = f"127.0.0.1:{port}"
    arguments = [f"--{name}={value}" for name, value in told.items()]
    return start("tools/train.py", *arguments, backend="jax")


CORE = """\
import sys
import numpy as np
from covid_lm.models.saving import load_classifier

with np.load(sys.argv[2]) as tokens:
    core = load_classifier(sys.argv[1]).core
    np.save(sys.argv[3], core.predict(dict(tokens), verbose=0))
"""


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_run_ends_with_an_export_of_the_jax_core(image_folder, tmp_path, num_processes):
    import tensorflow as tf

    port = free_port()
    directories = [tmp_path / f"saved-{number}" for number in range(num_processes)]
    processes = [
        train(image_folder, directory, num_processes, number, port)
        for number, directory in enumerate(directories)
    ]
    said = [output(process) for process in processes]
    assert "exported " in said[0]
    for text in said[1:]:
        assert text == "process 1 is done; process 0 evaluates and exports\n"
    assert [directory.exists() for directory in directories] == [True, False][:num_processes]
    run_dir = directories[0] / "run-1" / "run"
    config = json.loads((run_dir / "config.json").read_text())["run"]
    assert config["devices"] == ("1 process of JAX", "2 processes of JAX")[num_processes - 1]
    assert config["command"].startswith("KERAS_BACKEND=jax python tools/train.py --dataset=folder")
    assert len((run_dir / "metrics.jsonl").read_text().splitlines()) == 2

    exported = tf.saved_model.load(str(directories[0] / "run-1" / "1"))
    samples = sorted((run_dir / "samples").iterdir())
    inputs = {
        "image_bytes": tf.constant([path.read_bytes() for path in samples]),
        "filename": tf.constant([path.name for path in samples]),
    }
    tokens = exported.signatures["tokenize"](**inputs)
    expected = exported.signatures["serving_default"](**inputs)["probabilities"].numpy()
    np.savez(tmp_path / "tokens.npz", **{key: value.numpy() for key, value in tokens.items()})
    probabilities = tmp_path / "probabilities.npy"
    output(start("-c", CORE, run_dir, tmp_path / "tokens.npz", probabilities, backend="jax"))
    assert np.ptp(expected[:, 0]) > 1e-4  # images differ by more than the tolerance below
    assert_close(np.load(probabilities), expected)


def metrics(directory) -> list[dict]:
    lines = (directory / "run-1" / "run" / "metrics.jsonl").read_text().splitlines()
    return [{**json.loads(line), "seconds": 0} for line in lines]


def test_a_killed_run_resumes_after_its_last_finished_epoch(image_folder, tmp_path):
    flags = {"epochs": 4, "batch_size": 4}
    output(train(image_folder, tmp_path / "at_once", **flags))
    killed = train(image_folder, tmp_path / "killed", **flags)
    for line in killed.stdout:
        if line.startswith("epoch 1/4"):
            break
    children = pathlib.Path(f"/proc/{killed.pid}/task/{killed.pid}/children").read_text().split()
    assert children
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    deadline = time.monotonic() + 20
    while any(pathlib.Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline, "the child outlives its parent"
        time.sleep(0.1)
    again = output(train(image_folder, tmp_path / "killed", **flags))
    assert re.search(r"resumed after epoch [1-3], step 0\n", again)
    assert metrics(tmp_path / "killed") == metrics(tmp_path / "at_once")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            {"learning_rate": 1e30},
            r"train.py: epoch \d, step \d+: the loss is (nan|inf); lower --l",
        ),
    ],
)
def test_a_failing_run_is_one_line(image_folder, tmp_path, flags, message):
    process = train(image_folder, tmp_path, **flags)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1
    assert re.fullmatch(message + ".*", errors.strip().splitlines()[-1])
    assert "Traceback" not in errors
    assert os.listdir(tmp_path) == []


def test_processes_with_different_flags_are_refused(image_folder, tmp_path):
    port = free_port()
    processes = [train(image_folder, tmp_path / str(n), 2, n, port, seed=n) for n in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 2
        assert errors.strip().splitlines()[-1] == (
            "train.py: --process_id=1: has other flags or data than process 0; give all "
            "processes the same, including --batch_size"
        )
        assert "Traceback" not in errors
