"""Keras callbacks of the epoch loop."""

import math
import time

import keras

from covid_lm.errors import RunError
from covid_lm.training.checkpoints import Checkpoints, Progress
from covid_lm.training.termination import Terminated, Termination

SAVE_INTERVAL = 60.0  # seconds between checkpoints within an epoch, at least
SAVE_SHARE = 0.05  # of the training time may be spent on them


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Raises RunError on a NaN or infinite loss.

    Args:
        steps_before: steps of the first epoch that an earlier process did.
        checkpoints: removed before raising, because they would lead to the same loss.
    """

    def __init__(self, steps_before: int, checkpoints: Checkpoints | None):
        super().__init__()
        self.steps_before = steps_before
        self.checkpoints = checkpoints

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch = epoch + 1
        # Read here, because Keras' JAX trainer removes the variables' values while it trains.
        self.rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        if math.isfinite(logs["loss"]):
            return
        if self.checkpoints is not None:
            self.checkpoints.discard()
        raise RunError(
            f"epoch {self.epoch}, step {self.steps_before + batch + 1}: the loss is "
            f"{logs['loss']}; lower --learning_rate (now {self.rate:g})"
        )


class SaveWithinEpoch(keras.callbacks.Callback):
    """Saves a checkpoint every minute, less often where saving is slow, and on SIGTERM.

    Args:
        progress: at the start of this call of `fit`.
    """

    def __init__(self, checkpoints: Checkpoints, progress: Progress, termination: Termination):
        super().__init__()
        self.checkpoints = checkpoints
        self.progress = progress
        self.termination = termination
        self.started = time.monotonic()
        self.due = self.started + SAVE_INTERVAL

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        self.checkpoints.add_metrics()
        now = time.monotonic()
        if now < self.due and not self.termination.requested:
            return
        means = {name: float(mean) for name, mean in self.model.get_metrics_result().items()}
        progress = self.progress.within_epoch(batch + 1, means, now - self.started)
        self.checkpoints.save(progress)
        if self.termination.requested:
            raise Terminated(
                f"SIGTERM: saved after epoch {progress.epoch}, step {progress.step}; "
                "the same command resumes"
            )
        saved = time.monotonic()
        self.due = saved + max(SAVE_INTERVAL, (saved - now) / SAVE_SHARE)
