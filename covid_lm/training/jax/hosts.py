"""Several JAX processes, one per host: connection, and checks that they agree."""

import hashlib

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils

from covid_lm.errors import InputError, RunError

WAIT_SECONDS = 300  # for the other processes


def join_processes(coordinator: str | None, num_processes: int, process_id: int) -> None:
    """Connects all processes, so that Keras trains on all their devices.

    CPUs use gloo for communication, GPUs and TPUs JAX's own collectives.

    Raises:
        RunError: the processes did not connect.
    """
    if num_processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        try:
            jax.distributed.initialize(
                coordinator, num_processes, process_id, initialization_timeout=WAIT_SECONDS
            )
        except (RuntimeError, ValueError) as error:
            raise RunError(
                f"--coordinator={coordinator}: process {process_id} of {num_processes} did not "
                f"reach the others ({str(error).splitlines()[0][:120]}); start all of them within "
                f"{WAIT_SECONDS} s, with the same address"
            ) from None
    if jax.device_count() > 1:  # a mesh of one device would cost a second compilation
        # Every process makes its own share of each batch.
        distribution = keras.distribution.DataParallel(auto_shard_dataset=False)
        keras.distribution.set_distribution(distribution)


def require_divisible(batch_size: int) -> None:
    """Raises `InputError` unless a batch can be divided equally among all devices."""
    devices = jax.device_count()
    if batch_size % devices:
        raise InputError(
            f"--batch_size={batch_size}: must be a multiple of {devices}, the number of devices of "
            "all processes"
        )


def require_same(digest: "hashlib._Hash") -> None:
    """Raises `InputError` in every process if a digest is not the same in all of them."""
    own = np.frombuffer(digest.digest(), np.uint8)
    digests = np.reshape(multihost_utils.process_allgather(own), (-1, len(own)))
    others = [number for number, other in enumerate(digests) if (other != digests[0]).any()]
    if others:
        raise InputError(
            f"--process_id={others[0]}: has other flags or data than process 0; give all "
            "processes the same, including --batch_size"
        )


def bytes_from_process_0(content: np.ndarray) -> np.ndarray:
    """The bytes of process 0, uint8 of any length."""
    length = int(multihost_utils.broadcast_one_to_all(np.array(len(content))))
    return multihost_utils.broadcast_one_to_all(np.resize(content, length))
