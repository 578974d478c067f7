"""The strategy from the options: devices of this machine, and all failures to get a TPU."""

import json
import pathlib
import subprocess
import sys

import pytest
import tensorflow as tf

from covid_lm.errors import InputError, RunError
from covid_lm.training import devices
from covid_lm.training.batch_size import global_batch_size
from covid_lm.training.devices import choose_strategy, describe, set_threads
from covid_lm.training.options import TrainingOptions
from covid_lm.training.pretraining_options import PretrainingOptions
from tests.training.google_cloud import closed_port, google_cloud, silent_port

TRAIN = str(pathlib.Path(__file__).parents[2] / "tools" / "train.py")


def test_without_a_tpu_it_is_this_machine():
    strategy = choose_strategy(TrainingOptions())
    assert strategy.num_replicas_in_sync == max(len(tf.config.list_physical_devices("GPU")), 1)
    assert describe(strategy).startswith(f"{strategy.num_replicas_in_sync} ")


@pytest.mark.parametrize(
    ("options", "halved"),
    [
        (TrainingOptions(backbone="6x128"), 1),
        (TrainingOptions(backbone="minilm-l6"), 1),
        (TrainingOptions(backbone="rbt3"), 0),
        (TrainingOptions(backbone="densenet121", protocol="absent"), 0),
        (PretrainingOptions(backbone="4x128", layout="patches64x8"), 1),
        (PretrainingOptions(backbone="4x128", layout="patches64x8", objective="teacher"), 1),
    ],
)
def test_small_encoders_are_trained_in_halves(monkeypatch, options, halved):
    calls = []
    monkeypatch.setattr(devices, "prefer_two_parts", lambda: calls.append(1))
    set_threads(options)
    assert len(calls) == halved


@pytest.mark.parametrize(("tpu", "dtype"), [(None, "float32"), ("node-1", "bfloat16")])
def test_the_arithmetic_that_suits_the_device(tpu, dtype):
    assert TrainingOptions(tpu=tpu).dtype == dtype


def test_a_batch_is_the_same_number_of_images_on_each_device():
    default = TrainingOptions()
    assert global_batch_size(default, 240) == 8
    assert global_batch_size(default, 240, 3) == 9
    assert global_batch_size(TrainingOptions(batch_size=6), 240, 3) == 6
    with pytest.raises(InputError) as error:
        global_batch_size(TrainingOptions(batch_size=7), 240, 2)
    assert str(error.value) == ("--batch_size=7: must be a multiple of 2, the number of devices")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tpu_zone": "us-a"}, "--tpu_zone=us-a: only with --tpu"),
        ({"gcp_project": "p"}, "--gcp_project=p: only with --tpu"),
        ({"tpu": "node-1", "tpu_timeout": 0.0}, "--tpu_timeout=0.0: must be above 0"),
    ],
)
def test_unusable_options(changes, message):
    with pytest.raises(InputError) as error:
        TrainingOptions(**changes)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("cluster", "tasks"),
    [({"worker": ["a:1", "b:1"]}, 2), ({"chief": ["a:1"], "worker": ["b:1"], "ps": ["c:1"]}, 3)],
)
def test_several_machines_are_refused(monkeypatch, cluster, tasks):
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"index": 0}}))
    with pytest.raises(InputError) as error:
        choose_strategy(TrainingOptions())
    assert str(error.value) == (
        f"TF_CONFIG: names {tasks} tasks, but Keras 3 trains on one machine under TensorFlow; "
        "unset it, and use a TPU pod with --tpu, or train.py's --num_processes"
    )


@pytest.mark.parametrize("tf_config", ["", "{}", '{"cluster": {"worker": ["a:1"]}}'])
def test_one_machine_is_one_machine(monkeypatch, tf_config):
    monkeypatch.setenv("TF_CONFIG", tf_config)
    assert choose_strategy(TrainingOptions()).num_replicas_in_sync >= 1


@pytest.mark.parametrize("tf_config", ["{", "[]", '{"cluster": [1]}', '{"cluster": {"w": 1}}'])
def test_a_damaged_tf_config(monkeypatch, tf_config):
    monkeypatch.setenv("TF_CONFIG", tf_config)
    with pytest.raises(InputError) as error:
        choose_strategy(TrainingOptions())
    assert str(error.value) == "TF_CONFIG: not a JSON object that names a cluster; unset it"


def test_a_named_tpu_whose_address_is_dead(monkeypatch):
    endpoint = {"ipAddress": "127.0.0.1", "port": closed_port()}
    node = {"state": "READY", "networkEndpoints": [endpoint]}
    with google_cloud(monkeypatch, nodes={"node-1": node}), pytest.raises(RunError) as error:
        choose_strategy(TrainingOptions(tpu="node-1"))
    assert str(error.value).startswith(
        f"--tpu: nothing listens at grpc://127.0.0.1:{endpoint['port']} (Connection refused); "
    )


def train(tmp_path, *arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, TRAIN, f"--output_dir={tmp_path}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_an_address_that_hangs_ends_the_process_with_one_line(tmp_path):
    with silent_port() as port:
        tpu = f"grpc://127.0.0.1:{port}"
        process = train(tmp_path, f"--tpu={tpu}", "--tpu_timeout=1")
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr.strip().splitlines()[-1] == (
        f"train.py: --tpu={tpu}: not ready after 1 s; check that it is a TPU of this TensorFlow's "
        "version, or give a large one more time with --tpu_timeout"
    )
    assert "Traceback" not in process.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(bool(tf.config.list_physical_devices("TPU")), reason="there is a TPU here")
def test_no_tpu_in_this_machine_is_no_run_on_its_cpu():
    with pytest.raises(RunError) as error:
        choose_strategy(TrainingOptions(tpu="local"))
    assert str(error.value) == (
        "--tpu=local: this TensorFlow has no TPU kernels; install the extra, "
        "pip install 'covid_lm[tpu]', on the TPU VM"
    )


@pytest.mark.slow
def test_a_tensorflow_server_without_a_tpu(tmp_path):
    script = (
        "import tensorflow as tf\n"
        "server = tf.distribute.Server.create_local_server()\n"
        "print(server.target, flush=True)\n"
        "server.join()\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            process = train(tmp_path, f"--tpu={server.stdout.readline().strip()}")
        finally:
            server.kill()
    assert (process.returncode, process.stdout) == (1, "")
    last = process.stderr.strip().splitlines()[-1]
    assert "no TPU there (TPUs not found in the cluster." in last
    assert last.endswith("leave --tpu out to train without one")
