"""The optimization itself: AdamW at a constant rate, early stopping, and going on where it broke
off."""

import os
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from scipy.special import log_softmax

from covid_lm.checkpoints import Checkpoints
from covid_lm.classifier import Classifier
from covid_lm.data.tokens import DecodedRecords, TokenizedRecords
from covid_lm.evaluation.protocols import predict_in_batches
from covid_lm.pixel_classifier import PixelClassifier
from covid_lm.run_directory import write_json_lines
from covid_lm.termination import Termination
from covid_lm.training_callbacks import SaveWithinEpoch, StopOnNonFiniteLoss
from covid_lm.training_options import TrainingOptions
from covid_lm.training_progress import Progress
from covid_lm.training_splits import tokenized_splits


def fit(
    classifier: Classifier | PixelClassifier,
    images: dict[str, DecodedRecords],
    batch_size: int,
    options: TrainingOptions,
    run_dir: str,
    termination: Termination,
) -> None:
    """Fits the logits; leaves the weights of the epoch with the lowest validation loss.

    The training split is read under the training policy, the one that is monitored under the test
    policy. Goes on from the newest checkpoint in `run_dir`, if there is one; on one CPU device with
    the same numbers, bit for bit, as if it had never stopped.

    Raises:
        RunError: the loss became non-finite, or a checkpoint can't be written.
        Terminated: SIGTERM came, and the run is saved.
    """
    model = classifier.logits
    compile_for_training(model, options.learning_rate)
    splits = tokenized_splits(classifier, images, options)
    training, monitored = splits["training"], splits.get("monitored")
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


def compile_for_training(
    model: keras.Model, learning_rate: float, jit_compile: bool = False
) -> None:
    """The paper's optimizer (section 4.1) on the cross-entropy of the logits.

    XLA (`jit_compile`) gives the same numbers; on CPU it is slower, and what a TPU runs is compiled
    by it in any case.
    """
    model.compile(
        optimizer=paper_optimizer(learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        jit_compile=jit_compile,
    )


def paper_optimizer(
    learning_rate: float, kind: type[keras.optimizers.AdamW] = keras.optimizers.AdamW
) -> keras.optimizers.AdamW:
    """AdamW with the paper's constants (section 4.1)."""
    return kind(learning_rate, beta_1=0.99, beta_2=0.999, weight_decay=1e-8)


def validate(model: keras.Model, split: TokenizedRecords, batch_size: int) -> dict[str, float]:
    """`val_loss` and `val_accuracy`, each a mean over all examples and none twice."""
    logits = predict_in_batches(model, split.tokens, batch_size)
    of_label = log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(logits)), split.labels]
    correct = np.argmax(logits, axis=1) == split.labels
    return {"val_loss": float(-np.mean(of_label)), "val_accuracy": float(np.mean(correct))}


def _fit_epoch(
    model: keras.Model,
    training: TokenizedRecords,
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
