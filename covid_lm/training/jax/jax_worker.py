"""The child process that trains the core on Keras' JAX backend.

`KERAS_BACKEND=jax python -m covid_lm.training.jax.jax_worker DIRECTORY`, where the directory has
a `JaxJob`, the token ids and the initial checkpoint. After an epoch, process 0 writes a
checkpoint and the log to the job's run directory; the other processes write nothing.
"""

import hashlib
import json
import os
import sys
import threading

import jax
import keras
import numpy as np
import tensorflow as tf
from jax.experimental import multihost_utils

from covid_lm.command_line import end_at_once
from covid_lm.errors import InputError, RunError
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.pipeline.decoded import CHUNK_SIZE
from covid_lm.pipeline.pixel_cache import LOCATION, stored_pixels
from covid_lm.training.checkpoints import PROGRESS, Checkpoints, Progress, read_checkpoint
from covid_lm.training.fine_tuning import log_epoch
from covid_lm.training.jax import hosts
from covid_lm.training.jax.launcher import JaxJob
from covid_lm.training.loop import run_epochs
from covid_lm.training.optimizer import compile_for_training, with_xla
from covid_lm.training.run_directory import checkpoint_files


def train(directory: str) -> None:
    """Trains the epochs of the job that the initial checkpoint lacks.

    Raises:
        InputError: the batch can't be divided among the devices, or the processes have different
            flags or data.
        RunError: the loss became non-finite, or the processes did not connect.
    """
    tf.config.set_visible_devices([], "GPU")  # TensorFlow only makes the batches
    job, arrays = JaxJob.read(directory)
    options = job.options
    hosts.join_processes(options.coordinator, options.num_processes, options.process_id)
    hosts.require_divisible(job.batch_size)
    hosts.require_same(_digest(job, arrays))
    # The values are replaced below, but Keras checks that all processes begin with the same.
    keras.utils.set_random_seed(options.seed)
    classifier = TokenClassifier(job.classifier, job.vocabulary)
    model = classifier.logits
    splits = {name: job.source(classifier, values) for name, values in arrays.items()}
    training, monitored = splits["training"], splits.get("monitored")
    compile_for_training(model, options, training.steps(job.batch_size))
    checkpoints = Checkpoints(os.path.join(job.run_dir, "checkpoints"), model)
    progress = _start(checkpoints, os.path.join(directory, "start"))
    scorer = _scorer(model)

    def validate() -> dict[str, float]:
        if monitored is None:
            return {}
        metrics = scorer.evaluate(monitored.once(job.batch_size), verbose=0, return_dict=True)
        return {name: float(metrics[name]) for name in ("val_loss", "val_accuracy")}

    def log(progress: Progress) -> None:
        if options.process_id == 0:
            log_epoch(progress, options.epochs, job.run_dir)

    written = checkpoints if options.process_id == 0 else None
    run_epochs(model, training, job.batch_size, options, validate, log, written, progress)


def _scorer(model: keras.Model) -> keras.Model:
    """The same model, compiled for evaluation on weighted batches."""
    scorer = keras.Model(model.inputs, model.outputs[0])
    scorer.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[  # their means exclude the images that fill up the last batch
            keras.metrics.SparseCategoricalCrossentropy(name="val_loss", from_logits=True),
            keras.metrics.SparseCategoricalAccuracy(name="val_accuracy"),
        ],
        jit_compile=with_xla(),
    )
    return scorer


def _digest(job: JaxJob, splits: dict[str, dict[str, np.ndarray]]) -> "hashlib._Hash":
    """A digest of everything that must be the same in every process."""
    values = {
        field.name: getattr(job.options, field.name)
        for field in job.options.options()
        if field.metadata["must_match"] and field.name != "weights"  # a path of the host
    }
    shared = [values, job.batch_size, job.options.num_processes, sorted(splits)]
    digest = hashlib.sha256(json.dumps(shared).encode())
    for name in sorted(splits):
        for key, array in splits[name].items():
            if key not in LOCATION:
                digest.update(np.ascontiguousarray(array).data)
        pixels = stored_pixels(splits[name])
        if pixels is not None:
            for start in range(0, len(pixels), CHUNK_SIZE):
                digest.update(np.ascontiguousarray(pixels[start : start + CHUNK_SIZE]).data)
    return digest


def _start(checkpoints: Checkpoints, directory: str) -> Progress:
    """Sets every variable to its initial value in process 0; returns the progress."""
    (path,) = checkpoint_files(directory)
    arrays = read_checkpoint(path)
    arrays[PROGRESS] = hosts.bytes_from_process_0(arrays[PROGRESS])
    owned = {name: array for name, array in arrays.items() if name.startswith(("model", "opt"))}
    return checkpoints.assign(path, {**arrays, **multihost_utils.broadcast_one_to_all(owned)})


def _end_with_parent() -> None:
    """Ends the process when standard input ends, as it does with the parent process."""
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Trains; ends at once on an error, because an orderly exit would wait for other processes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Output of JAX's libraries goes to standard error.
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        train(sys.argv[1])
    except (InputError, RunError) as error:
        end_at_once(str(error), error.exit_status)
    except jax.errors.JaxRuntimeError as error:
        end_at_once(
            f"JAX failed ({str(error).splitlines()[0][:160]}); if another process has ended, start "
            "all of them again: they resume after the last saved epoch",
            RunError.exit_status,
        )


if __name__ == "__main__":
    main()
