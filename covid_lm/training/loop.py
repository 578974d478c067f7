"""The training itself: what is read, early stopping, and going on where it broke off."""

import os
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from scipy.special import log_softmax

from covid_lm.files import write_json_lines
from covid_lm.models.classifier import Classifier, predict_in_batches
from covid_lm.pipeline.augmented import AugmentedRecords
from covid_lm.pipeline.decoded import DecodedRecords, TokenizedRecords
from covid_lm.training.callbacks import SaveWithinEpoch, StopOnNonFiniteLoss
from covid_lm.training.checkpoints import Checkpoints, Progress
from covid_lm.training.inputs import tokenized_splits
from covid_lm.training.optimizer import compile_for_training, scheduled_learning_rate
from covid_lm.training.options import TrainingOptions
from covid_lm.training.termination import Termination


def fit(
    classifier: Classifier,
    images: dict[str, DecodedRecords],
    batch_size: int,
    options: TrainingOptions,
    run_dir: str,
    termination: Termination,
) -> None:
    """Fits the logits; leaves the weights of the epoch with the lowest validation loss.

    The training split is read under the training policy, the one that is monitored under the test
    policy, in one view. Goes on from the newest checkpoint in `run_dir`, if there is one; on one
    CPU device with the same numbers, bit for bit, as if it had never stopped.

    Raises:
        RunError: the loss became non-finite, or a checkpoint can't be written.
        Terminated: SIGTERM came, and the run is saved.
    """
    model = classifier.logits
    training, monitored = tokenized_splits(classifier, images, options)
    compile_for_run(model, options, training.steps(batch_size))
    checkpoints = Checkpoints(os.path.join(run_dir, "checkpoints"), model)
    progress = checkpoints.restore()
    if progress.epoch or progress.step:
        print(f"resumed after epoch {progress.epoch}, step {progress.step}", flush=True)
    with termination.deferred():
        while progress.epoch < options.epochs and not progress.stopped:
            progress = _fit_epoch(
                model, training, batch_size, options, checkpoints, progress, termination
            )
            validation = {} if monitored is None else validate(model, monitored, batch_size)
            progress = progress.epoch_finished(validation)
            if progress.best_epoch == progress.epoch:
                checkpoints.best_weights = model.get_weights()
            write_json_lines(os.path.join(run_dir, "metrics.jsonl"), progress.history)
            checkpoints.save(progress)
            if options.tensorboard:
                _log_to_tensorboard(os.path.join(run_dir, "tensorboard"), progress.history[-1])
            print_epoch(progress, options.epochs)
    if checkpoints.best_weights is not None:
        model.set_weights(checkpoints.best_weights)


def compile_for_run(model: keras.Model, options: TrainingOptions, steps_an_epoch: int) -> None:
    """Compiles with the objective and the optimizer that `options` tell."""
    steps = options.epochs * steps_an_epoch
    compile_for_training(
        model,
        scheduled_learning_rate(options.schedule, options.learning_rate, steps),
        options.weight_decay,
        options.label_smoothing,
    )


def validate(model: keras.Model, split: TokenizedRecords, batch_size: int) -> dict[str, float]:
    """`val_loss` and `val_accuracy`, each a mean over all examples and none twice."""
    logits = predict_in_batches(model, split.tokens, batch_size)
    of_label = log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(logits)), split.labels]
    correct = np.argmax(logits, axis=1) == split.labels
    return {"val_loss": float(-np.mean(of_label)), "val_accuracy": float(np.mean(correct))}


def _fit_epoch(
    model: keras.Model,
    training: TokenizedRecords | AugmentedRecords,
    batch_size: int,
    options: TrainingOptions,
    checkpoints: Checkpoints,
    progress: Progress,
    termination: Termination,
) -> Progress:
    """Does what is left of the epoch that the progress stands in."""
    steps = training.steps(batch_size) - progress.step
    if not steps:  # all were done when the checkpoint was written
        return progress
    saving = SaveWithinEpoch(checkpoints, progress, termination)
    started = time.monotonic()
    history = model.fit(
        training.epoch(batch_size, options.seed, progress.epoch, progress.step),
        initial_epoch=progress.epoch,
        epochs=progress.epoch + 1,
        callbacks=keras.callbacks.CallbackList(
            [StopOnNonFiniteLoss(progress.step, checkpoints.discard), saving],
            add_history=True,
            add_progbar=sys.stdout.isatty(),
            model=model,
            verbose=1,
            epochs=options.epochs,
            steps=steps,
        ),
        shuffle=False,  # they are in the epoch's order already
        verbose=0,
    ).history
    means = {name: values[-1] for name, values in history.items()}
    return progress.after(steps, means, time.monotonic() - started)


def print_epoch(progress: Progress, epochs: int) -> None:
    """A line with the last epoch's metrics."""
    metrics = dict(progress.history[-1])
    epoch, seconds = metrics.pop("epoch"), metrics.pop("seconds")
    values = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    print(f"epoch {epoch}/{epochs}: {values}, {seconds:.0f} s", flush=True)


def _log_to_tensorboard(directory: str, metrics: dict) -> None:
    with tf.summary.create_file_writer(directory).as_default():
        for name, value in metrics.items():
            tf.summary.scalar(name, value, step=metrics["epoch"])
