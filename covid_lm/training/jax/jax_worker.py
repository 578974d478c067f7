"""The child process of `jax_fitting`: trains the core on Keras' JAX backend.

`KERAS_BACKEND=jax python -m covid_lm.training.jax.jax_worker DIRECTORY`, where the directory holds
a `JaxJob`, the token ids and the checkpoint to begin with. Process 0 keeps a checkpoint and the
log in the job's run directory after every epoch; the other processes write nothing.
"""

import dataclasses
import hashlib
import json
import os
import sys
import threading
import time

import jax
import keras
import numpy as np
import tensorflow as tf

from covid_lm.command_line import end_at_once
from covid_lm.errors import InputError, RunError
from covid_lm.files import write_json_lines
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.pipeline.decoded import TokenizedRecords
from covid_lm.training.callbacks import StopOnNonFiniteLoss
from covid_lm.training.checkpoints import PROGRESS, Checkpoints, Progress, read_checkpoint
from covid_lm.training.jax.hosts import (
    bytes_from_process_0,
    from_process_0,
    join_processes,
    require_divisible,
    require_same,
)
from covid_lm.training.jax.launcher import JaxJob
from covid_lm.training.loop import print_epoch
from covid_lm.training.optimizer import compile_for_training, scheduled_learning_rate
from covid_lm.training.run_directory import checkpoint_files


def train(directory: str) -> None:
    """Trains the job's epochs, those before the checkpoint apart.

    Raises:
        InputError: the batch can't be divided among the devices, or the processes don't agree.
        RunError: the loss became non-finite, or the processes did not meet.
    """
    tf.config.set_visible_devices([], "GPU")  # TensorFlow only makes the batches here
    job, splits = JaxJob.read(directory)
    join_processes(job.coordinator, job.num_processes, job.process_id)
    require_divisible(job.batch_size)
    require_same(_digest(job, splits))
    # Values follow; until then they must be the same in all processes, which Keras checks.
    keras.utils.set_random_seed(job.seed)
    model = TokenClassifier(job.classifier, vocabulary=()).logits
    steps = job.epochs * splits["training"].steps(job.batch_size)
    compile_for_training(
        model,
        scheduled_learning_rate(job.schedule, job.learning_rate, steps),
        job.weight_decay,
        job.label_smoothing,
        jit_compile=True,
    )
    checkpoints = Checkpoints(os.path.join(job.run_dir, "checkpoints"), model)
    progress = _start(checkpoints, os.path.join(directory, "start"))
    scorer = _scorer(model)
    while progress.epoch < job.epochs and not progress.stopped:
        progress = _train_epoch(model, splits["training"], job, checkpoints, progress)
        validation = {}
        if "monitored" in splits:
            validation = validate(scorer, splits["monitored"], job)
        progress = progress.epoch_finished(validation)
        if job.process_id == 0:
            _keep(checkpoints, progress, job)


def validate(scorer: keras.Model, split: TokenizedRecords, job: JaxJob) -> dict[str, float]:
    """`val_loss` and `val_accuracy` over all examples of all processes' shares, none twice."""
    batches = split.once(job.batch_size, job.process_id, job.num_processes)
    figures = scorer.evaluate(batches, verbose=0, return_dict=True)
    return {name: float(figures[name]) for name in ("val_loss", "val_accuracy")}


def _scorer(model: keras.Model) -> keras.Model:
    """The same model, compiled to be evaluated on batches with weights."""
    scorer = keras.Model(model.inputs, model.outputs[0])
    scorer.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        weighted_metrics=[  # whose means leave out what fills up the last batch
            keras.metrics.SparseCategoricalCrossentropy(name="val_loss", from_logits=True),
            keras.metrics.SparseCategoricalAccuracy(name="val_accuracy"),
        ],
        jit_compile=True,
    )
    return scorer


def _digest(job: JaxJob, splits: dict[str, TokenizedRecords]) -> "hashlib._Hash":
    """Of all that must be the same in every process."""
    told = dataclasses.asdict(job)
    del told["classifier"]["weights"], told["run_dir"], told["process_id"]  # of the host
    digest = hashlib.sha256(json.dumps([told, sorted(splits)]).encode())
    for name in sorted(splits):
        for array in (*splits[name].tokens.values(), splits[name].labels):
            digest.update(np.ascontiguousarray(array).data)
    return digest


def _start(checkpoints: Checkpoints, directory: str) -> Progress:
    """Sets every variable to what process 0 begins with; returns where it stands."""
    (path,) = checkpoint_files(directory)
    arrays = read_checkpoint(path)
    arrays[PROGRESS] = np.frombuffer(bytes_from_process_0(arrays[PROGRESS].tobytes()), np.uint8)
    owned = {name: array for name, array in arrays.items() if name.startswith(("model", "opt"))}
    return checkpoints.assign(path, {**arrays, **from_process_0(owned)})


def _train_epoch(
    model: keras.Model,
    training: TokenizedRecords,
    job: JaxJob,
    checkpoints: Checkpoints,
    progress: Progress,
) -> Progress:
    started = time.monotonic()
    history = model.fit(
        training.epoch(
            job.batch_size,
            job.seed,
            progress.epoch,
            process_id=job.process_id,
            num_processes=job.num_processes,
        ),
        initial_epoch=progress.epoch,
        epochs=progress.epoch + 1,
        callbacks=[StopOnNonFiniteLoss(on_stop=checkpoints.discard)],
        shuffle=False,  # they are in the epoch's order already
        verbose=0,
    ).history
    means = {name: float(values[-1]) for name, values in history.items()}
    steps = training.steps(job.batch_size)
    return progress.after(steps, means, time.monotonic() - started)


def _keep(checkpoints: Checkpoints, progress: Progress, job: JaxJob) -> None:
    if progress.best_epoch == progress.epoch:
        checkpoints.best_weights = checkpoints.model.get_weights()
    write_json_lines(os.path.join(job.run_dir, "metrics.jsonl"), progress.history)
    checkpoints.save(progress)
    print_epoch(progress, job.epochs)


def _end_with_parent() -> None:
    """Standard input ends when the parent does."""
    sys.stdin.read()
    os._exit(1)


def main() -> None:
    """Ends at once on an error: an orderly exit would wait for the other processes."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # What JAX's libraries print is not for the reader of a result.
    sys.stdout = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        train(sys.argv[1])
    except (InputError, RunError) as error:
        end_at_once(str(error), error.exit_status)
    except jax.errors.JaxRuntimeError as error:
        end_at_once(
            f"JAX failed ({str(error).splitlines()[0][:160]}); if another process has ended, start "
            "all of them again: they go on after the last whole epoch",
            RunError.exit_status,
        )


if __name__ == "__main__":
    main()
