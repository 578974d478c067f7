"""Training gives the same result on one device, on two, and compiled by XLA."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import REPOSITORY


def run_python(*arguments: str) -> str:
    process = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, cwd=REPOSITORY
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


@pytest.fixture(scope="module")
def curves() -> dict:
    return json.loads(run_python("-m", "tests.training.device_curves"))


@pytest.mark.slow
@pytest.mark.parametrize("other", ["two", "xla"])
def test_the_loss_curve_is_the_same(curves, other):
    one = curves["one"]["losses"]
    assert len(one) == 20
    assert max(one) - min(one) > 0.1  # a curve, and not a constant
    np.testing.assert_allclose(curves[other]["losses"], one, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_no_image_is_lost_or_counted_twice(curves):
    for one, two, count in zip(
        curves["one"]["probabilities"], curves["two"]["probabilities"], (17, 1), strict=True
    ):
        assert len(one) == len(two) == count
        np.testing.assert_allclose(two, one, rtol=0, atol=1e-5)
    one, two = curves["one"]["validation"], curves["two"]["validation"]
    assert two["val_loss"] == pytest.approx(one["val_loss"], abs=1e-5)
    assert two["val_accuracy"] == one["val_accuracy"]
    assert one["val_accuracy"] * 17 == pytest.approx(round(one["val_accuracy"] * 17))


TRAIN_ON_TWO = """\
import sys
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from covid_lm.training.checkpoints import Checkpoints
from covid_lm.training_run import train
from covid_lm.training.options import TrainingOptions

options = TrainingOptions(
    dataset="folder", data_dir=sys.argv[1], backbone="1x64", epochs=2, batch_size=6,
    output_dir=sys.argv[2], name="run-1",
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
save = Checkpoints.save

def save_and_interrupt(checkpoints, progress):
    save(checkpoints, progress)
    if progress.epoch:
        raise KeyboardInterrupt

Checkpoints.save = save_and_interrupt
try:
    train(options, strategy)
except KeyboardInterrupt:
    Checkpoints.save = save
result = train(options, strategy)
n = result.metrics["protocols"]["paper"]["n"]
print(n, result.export_difference < 1e-5, result.version_dir)
"""


@pytest.mark.slow
def test_a_run_on_two_devices_interrupted_and_resumed(image_folder, tmp_path):
    lines = run_python("-c", TRAIN_ON_TWO, image_folder, str(tmp_path)).splitlines()
    assert any("batch size 6 on 2 CPUs, mirrored, " in line for line in lines)
    assert "resumed after epoch 1, step 0" in lines
    assert lines[-1] == f"10 True {tmp_path}/run-1/1"
