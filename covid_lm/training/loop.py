"""The epoch loop of training, pre-training, cross-validation and the JAX worker."""

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Protocol

import keras
import tensorflow as tf

from covid_lm.training.callbacks import SaveWithinEpoch, StopOnNonFiniteLoss
from covid_lm.training.checkpoints import Checkpoints, Progress
from covid_lm.training.optimizer import averaged_weights
from covid_lm.training.run_options import RunOptions
from covid_lm.training.termination import Termination


class BatchSource(Protocol):
    """Training batches whose order and random changes follow from the seed and the epoch alone."""

    def steps(self, batch_size: int) -> int:
        """Number of batches in an epoch."""

    def epoch(self, batch_size: int, seed: int, epoch: int, first_step: int = 0) -> tf.data.Dataset:
        """Batches of epoch `epoch`, counted from 0, from step `first_step` to its end.

        Returns:
            (inputs, targets) or (inputs, targets, weights), all batches of one size.
        """


def run_epochs(
    model: keras.Model,
    source: BatchSource,
    batch_size: int,
    options: RunOptions,
    validate: Callable[[], dict[str, float]] = dict,
    on_epoch_end: Callable[[Progress], None] = lambda progress: None,
    checkpoints: Checkpoints | None = None,
    progress: Progress | None = None,
    termination: Termination | None = None,
) -> Progress:
    """Trains a compiled model up to `options.epochs`, or until its validation loss stops falling.

    Returns the progress after the last epoch. On one CPU device, a run resumed from any of its
    checkpoints gives the same numbers, bit for bit, as an uninterrupted one.

    Args:
        validate: gives an epoch's validation metrics, of the averaged weights if the optimizer
            averages. With a `val_loss` among them, the weights of the best epoch are kept in
            `checkpoints`, and training stops early.
        on_epoch_end: called before an epoch's checkpoint is written, so that a log which it
            writes is never behind the checkpoints.
        checkpoints: written after every epoch; None to write none.
        progress: where to start, as `checkpoints.restore` returned it.
        termination: enables checkpoints within an epoch: at intervals, and on SIGTERM.

    Raises:
        RunError: the loss became non-finite, or a checkpoint can't be written.
        Terminated: SIGTERM arrived, and the state was saved.
    """
    progress = progress or Progress()
    with contextlib.nullcontext() if termination is None else termination.deferred():
        while progress.epoch < options.epochs and not progress.stopped:
            callbacks: list[keras.callbacks.Callback]
            callbacks = [StopOnNonFiniteLoss(progress.step, checkpoints)]
            if checkpoints is not None and termination is not None:
                callbacks.append(SaveWithinEpoch(checkpoints, progress, termination))
            progress = _train_epoch(model, source, batch_size, options, progress, callbacks)
            with averaged_weights(model):
                progress = progress.epoch_finished(validate())
                if checkpoints is not None and progress.best_epoch == progress.epoch:
                    checkpoints.best_weights = model.get_weights()
            on_epoch_end(progress)
            if checkpoints is not None:
                checkpoints.save(progress)
    return progress


def _train_epoch(
    model: keras.Model,
    source: BatchSource,
    batch_size: int,
    options: RunOptions,
    progress: Progress,
    callbacks: list[keras.callbacks.Callback],
) -> Progress:
    """Does the remaining steps of the current epoch."""
    steps = source.steps(batch_size) - progress.step
    if not steps:  # the checkpoint was written after the epoch's last step
        return progress
    started = time.monotonic()
    batches = source.epoch(batch_size, options.seed, progress.epoch, progress.step)
    history = model.fit(
        _endless(batches),
        steps_per_epoch=steps,
        initial_epoch=progress.epoch,
        epochs=progress.epoch + 1,
        callbacks=keras.callbacks.CallbackList(
            callbacks,
            add_history=True,
            add_progbar=sys.stdout.isatty(),
            model=model,
            verbose=1,
            epochs=options.epochs,
            steps=steps,
        ),
        shuffle=False,  # the source has shuffled them
        verbose=0,
    ).history
    means = {name: float(values[-1]) for name, values in history.items()}
    return progress.within_epoch(steps, means, time.monotonic() - started)


def _endless(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Batches of an epoch for `fit`, which would set up another iterator if it knew their number.

    Keras' JAX trainer reads one batch more than it trains on, if the device isn't the CPU.
    """
    if keras.backend.backend() == "jax":
        return batches.repeat()
    return batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
