"""Keras callbacks of the epoch loop."""

import math
import time
from collections.abc import Callable

import keras

from covid_lm.errors import RunError
from covid_lm.training.checkpoints import Checkpoints, Progress
from covid_lm.training.optimizer import averaged_weights
from covid_lm.training.termination import Terminated, Termination

SAVE_INTERVAL = 60.0  # seconds between checkpoints within an epoch, at least
SAVE_SHARE = 0.05  # of the training time may be spent on them
LARGE = 2**24  # bytes of a checkpoint that is not written after each short epoch


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Raises RunError on a NaN or infinite loss.

    Args:
        steps_before: steps of the epoch that an earlier process did.
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


class FinishEpoch(keras.callbacks.Callback):
    """Validates and saves at the end of each epoch, and stops training early.

    Where epochs are short and a checkpoint is large, not each epoch is saved, so that saving takes
    SAVE_SHARE of the time at most. The last epoch always is.

    Attributes:
        progress: of the run at the last end of an epoch, or at its start.

    Args:
        validate, on_epoch_end, checkpoints: see `run_epochs`.
    """

    def __init__(
        self,
        progress: Progress,
        validate: Callable[[], dict[str, float]],
        on_epoch_end: Callable[[Progress], None],
        checkpoints: Checkpoints | None,
    ):
        super().__init__()
        self.progress = progress
        self.validate = validate
        self.report = on_epoch_end
        self.checkpoints = checkpoints
        self.due = -math.inf  # when the next checkpoint is written

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict) -> None:
        means = {name: float(mean) for name, mean in logs.items()}
        seconds = time.monotonic() - self.started
        progress = self.progress.within_epoch(self.params["steps"], means, seconds)
        self.finish(progress, last=epoch + 1 == self.params["epochs"])
        self.model.stop_training = self.progress.stopped

    def finish(self, progress: Progress, last: bool = False) -> None:
        """Finishes the epoch whose steps are done.

        Args:
            last: whether it is the run's last, which is saved in any case.
        """
        with averaged_weights(self.model):
            self.progress = progress.epoch_finished(self.validate())
            if self.checkpoints is not None and self.progress.best_epoch == self.progress.epoch:
                self.checkpoints.best_weights = self.model.get_weights()
        self.report(self.progress)
        due = last or self.progress.stopped or time.monotonic() >= self.due
        if self.checkpoints is not None and due:
            size, affordable = save_timed(self.checkpoints, self.progress)
            if size > LARGE:
                self.due = affordable


class SaveWithinEpoch(keras.callbacks.Callback):
    """Saves a checkpoint every minute, less often where saving is slow, and on SIGTERM.

    Args:
        epochs: has the progress and the time at the start of the epoch.
    """

    def __init__(self, checkpoints: Checkpoints, epochs: FinishEpoch, termination: Termination):
        super().__init__()
        self.checkpoints = checkpoints
        self.epochs = epochs
        self.termination = termination

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.due = time.monotonic() + SAVE_INTERVAL

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        self.checkpoints.add_metrics()
        now = time.monotonic()
        if now < self.due and not self.termination.requested:
            return
        means = {name: float(mean) for name, mean in self.model.get_metrics_result().items()}
        progress = self.epochs.progress.within_epoch(batch + 1, means, now - self.epochs.started)
        _, affordable = save_timed(self.checkpoints, progress)
        if self.termination.requested:
            raise Terminated(
                f"SIGTERM: saved after epoch {progress.epoch}, step {progress.step}; "
                "the same command resumes"
            )
        self.due = max(affordable, time.monotonic() + SAVE_INTERVAL)


def save_timed(checkpoints: Checkpoints, progress: Progress) -> tuple[int, float]:
    """Saves a checkpoint.

    Returns:
        its bytes, and the time from which another one leaves saving at SAVE_SHARE of the time.
    """
    begun = time.monotonic()
    size = checkpoints.save(progress)
    saved = time.monotonic()
    return size, saved + (saved - begun) / SAVE_SHARE
