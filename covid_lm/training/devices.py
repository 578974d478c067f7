"""The `tf.distribute` strategy of a run, from its options.

A Cloud TPU if the options name one, otherwise all GPUs of this machine, mirrored, or its CPU.
`MultiWorkerMirroredStrategy` does not work with Keras 3, so TensorFlow trains on one machine only;
several machines train on JAX (`training.jax`). The failures on the way to a TPU are tested;
training on one is not, since no TPU was available.
"""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator

import tensorflow as tf

from covid_lm.backbones.configs import HALVED_HIDDEN_DIM, backbone_config
from covid_lm.backbones.parallel_parts import prefer_two_parts
from covid_lm.command_line import end_at_once
from covid_lm.errors import InputError, RunError
from covid_lm.training.cloud_tpu import check_listening, tpu_addresses
from covid_lm.training.run_options import RunOptions


def choose_strategy(options: RunOptions) -> tf.distribute.Strategy:
    """The strategy for building, training and evaluating.

    A hanging call into TensorFlow can't be interrupted, so the process ends, with one line and
    status 1, if a TPU isn't ready after `options.tpu_timeout` seconds.

    Raises:
        InputError: no such TPU, or TF_CONFIG names several machines.
        RunError: the TPU can't be reached, or the device is not a TPU.
    """
    if options.backend == "jax":
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)  # leaves its memory to JAX
        return tf.distribute.get_strategy()
    _refuse_several_machines(os.environ.get("TF_CONFIG", ""))
    if options.tpu is not None:
        return _tpu_strategy(options.tpu, options)
    set_threads(options)
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def set_threads(options: RunOptions) -> None:
    """Sets TensorFlow's threads for a run on the CPU, before TensorFlow runs an operation."""
    if options.is_convolutional:  # their batches are normalized as a whole
        return
    if backbone_config(options.backbone).hidden_dim <= HALVED_HIDDEN_DIM:
        prefer_two_parts()


def describe(strategy: tf.distribute.Strategy) -> str:
    """The devices in words, for example "2 GPUs, mirrored"."""
    replicas = strategy.num_replicas_in_sync
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return f"TPU, {replicas} cores"
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    return f"1 {kind}" if replicas == 1 else f"{replicas} {kind}s, mirrored"


def _refuse_several_machines(tf_config: str) -> None:
    if not tf_config.strip():
        return
    try:
        cluster = json.loads(tf_config).get("cluster", {})
        tasks = sum(len(addresses) for addresses in cluster.values())
    except (ValueError, AttributeError, TypeError):
        raise InputError("TF_CONFIG: not a JSON object that names a cluster; unset it") from None
    if tasks > 1:
        raise InputError(
            f"TF_CONFIG: names {tasks} tasks, but Keras 3 trains on one machine under TensorFlow; "
            "unset it, and use a TPU pod with --tpu, or train.py's --num_processes"
        )


def _tpu_strategy(tpu: str, options: RunOptions) -> tf.distribute.Strategy:
    with _ended_after(options.tpu_timeout, tpu):
        deadline = time.monotonic() + options.tpu_timeout
        target = tpu
        if tpu != "local":
            addresses = tpu_addresses(tpu, options.tpu_zone, options.gcp_project, deadline)
            for address in addresses:
                check_listening(address, deadline)
            target = ",".join(f"grpc://{address}" for address in addresses)
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=target)
            tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
            return tf.distribute.TPUStrategy(resolver)
        except (tf.errors.OpError, RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0][:120]
            message = f"no TPU there ({reason}); leave --tpu out to train without one"
            if "No OpKernel was registered" in str(error):
                message = (
                    "this TensorFlow has no TPU kernels; install the extra, "
                    "pip install 'covid_lm[tpu]', on the TPU VM"
                )
            raise RunError(f"--tpu={tpu}: {message}") from None


@contextlib.contextmanager
def _ended_after(seconds: float, tpu: str) -> Iterator[None]:
    """Ends the process unless the block ends in time, even if a native call hangs."""
    message = (
        f"--tpu={tpu}: not ready after {seconds:g} s; check that it is a TPU of this TensorFlow's "
        "version, or give a large one more time with --tpu_timeout"
    )
    timer = threading.Timer(seconds + 0.5, end_at_once, (message, RunError.exit_status))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
