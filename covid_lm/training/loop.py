"""The epoch loop of training, pre-training, cross-validation and the JAX worker."""

import contextlib
import sys
from collections.abc import Callable
from typing import Protocol

import keras
import tensorflow as tf

from covid_lm.training.callbacks import FinishEpoch, SaveWithinEpoch, StopOnNonFiniteLoss
from covid_lm.training.checkpoints import Checkpoints, Progress
from covid_lm.training.run_options import RunOptions
from covid_lm.training.termination import Termination

# `fit` is called for so many images at once, because TensorFlow compiles the input pipeline's
# functions in each call: 0.17 s, a quarter of an epoch of 300 small images (--recipe=pixels).
_IMAGES_PER_CALL = 2**20


class BatchSource(Protocol):
    """Training batches whose order and random changes follow from the seed and the epoch alone."""

    def steps(self, batch_size: int) -> int:
        """Number of batches in an epoch."""

    def epochs(
        self, batch_size: int, seed: int, epochs: range, first_step: int = 0
    ) -> tf.data.Dataset:
        """Batches of epochs, counted from 0, in a row, from step `first_step` of the first one on.

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
        checkpoints: written after epochs, see `FinishEpoch`; None to write none.
        progress: where to start, as `checkpoints.restore` returned it.
        termination: enables checkpoints within an epoch: at intervals, and on SIGTERM.

    Raises:
        RunError: the loss became non-finite, or a checkpoint can't be written.
        Terminated: SIGTERM arrived, and the state was saved.
    """
    finish = FinishEpoch(progress or Progress(), validate, on_epoch_end, checkpoints)
    finish.set_model(model)
    with contextlib.nullcontext() if termination is None else termination.deferred():
        while finish.progress.epoch < options.epochs and not finish.progress.stopped:
            progress = finish.progress
            callbacks: list[keras.callbacks.Callback]
            callbacks = [StopOnNonFiniteLoss(progress.step, checkpoints)]
            if checkpoints is not None and termination is not None:
                callbacks.append(SaveWithinEpoch(checkpoints, finish, termination))
            if sys.stdout.isatty():
                callbacks.append(keras.callbacks.ProgbarLogger())
            if progress.step == source.steps(batch_size):
                finish.finish(progress)  # the checkpoint was written after the epoch's last step
            else:
                _fit(model, source, batch_size, options, progress, [*callbacks, finish])
    return finish.progress


def _fit(
    model: keras.Model,
    source: BatchSource,
    batch_size: int,
    options: RunOptions,
    progress: Progress,
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """Does the remaining steps of the current epoch, or several whole epochs."""
    steps = source.steps(batch_size)
    count = 1 if progress.step else max(_IMAGES_PER_CALL // (steps * batch_size), 1)
    epochs = range(progress.epoch, min(progress.epoch + count, options.epochs))
    steps -= progress.step
    model.fit(
        _endless(source.epochs(batch_size, options.seed, epochs, progress.step)),
        steps_per_epoch=steps,
        initial_epoch=epochs.start,
        epochs=epochs.stop,
        callbacks=keras.callbacks.CallbackList(
            callbacks,
            add_history=True,
            model=model,
            verbose=1,
            epochs=options.epochs,
            steps=steps,
        ),
        shuffle=False,  # the source has shuffled them
        verbose=0,
    )


def _endless(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Batches for `fit`, which would set up another iterator if it knew their number.

    Keras' JAX trainer reads one batch more than it trains on, if the device isn't the CPU.
    """
    if keras.backend.backend() == "jax":
        return batches.repeat()
    return batches.apply(tf.data.experimental.assert_cardinality(tf.data.INFINITE_CARDINALITY))
