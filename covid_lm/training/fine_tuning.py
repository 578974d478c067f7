"""Training of a classifier in this process, with validation, early stopping and checkpoints."""

import os

import keras
import numpy as np
import tensorflow as tf
from scipy.special import log_softmax

from covid_lm.files import write_json_lines
from covid_lm.models.classifier import Classifier, predict_in_batches
from covid_lm.pipeline.decoded import DecodedRecords
from covid_lm.pipeline.tokenized import Batches
from covid_lm.training.checkpoints import Progress, resume
from covid_lm.training.inputs import tokenized_splits
from covid_lm.training.loop import run_epochs
from covid_lm.training.optimizer import compile_for_training
from covid_lm.training.options import TrainingOptions
from covid_lm.training.termination import Termination


def fit_classifier(
    classifier: Classifier,
    images: dict[str, DecodedRecords],
    batch_size: int,
    options: TrainingOptions,
    run_dir: str,
    termination: Termination,
) -> None:
    """Trains `classifier.logits`, or resumes from the newest checkpoint in `run_dir`.

    The training split is tokenized under the training policy, the monitored one under the test
    policy. At the end, the model has the weights of the epoch with the lowest validation loss; with
    `--ema`, their averages.

    Raises:
        RunError: the loss became non-finite, or a checkpoint can't be written.
        Terminated: SIGTERM arrived, and the state was saved.
    """
    model = classifier.logits
    training, monitored = tokenized_splits(classifier, images, options)
    compile_for_training(model, options, training.steps(batch_size))
    checkpoints, progress = resume(run_dir, model)

    def scores() -> dict[str, float]:
        return {} if monitored is None else validate(model, monitored, batch_size)

    def log(progress: Progress) -> None:
        log_epoch(progress, options.epochs, run_dir)
        if options.tensorboard:
            metrics = progress.history[-1]
            directory = os.path.join(run_dir, "tensorboard")
            with tf.summary.create_file_writer(directory).as_default():
                for name, value in metrics.items():
                    tf.summary.scalar(name, value, step=metrics["epoch"])

    run_epochs(
        model, training, batch_size, options, scores, log, checkpoints, progress, termination
    )
    checkpoints.set_final_weights()


def validate(model: keras.Model, split: Batches, batch_size: int) -> dict[str, float]:
    """`val_loss` and `val_accuracy`, each a mean over all examples, counting each once."""
    parts = [predict_in_batches(model, part.tokens, batch_size) for part in split.parts()]
    logits = np.concatenate(parts)
    of_label = log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(logits)), split.labels]
    correct = np.argmax(logits, axis=1) == split.labels
    return {"val_loss": float(-np.mean(of_label)), "val_accuracy": float(np.mean(correct))}


def log_epoch(progress: Progress, epochs: int, run_dir: str) -> None:
    """Writes `metrics.jsonl`, and prints the last epoch's metrics."""
    write_json_lines(os.path.join(run_dir, "metrics.jsonl"), progress.history)
    print_epoch(progress, epochs)


def print_epoch(progress: Progress, epochs: int) -> None:
    """Prints a line with the last epoch's metrics."""
    metrics = dict(progress.history[-1])
    epoch, seconds = metrics.pop("epoch"), metrics.pop("seconds")
    values = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    print(f"epoch {epoch}/{epochs}: {values}, {seconds:.0f} s", flush=True)
