"""What watches a training run, step by step."""

import math
import time
from collections.abc import Callable

import keras

from covid_lm.checkpoints import Checkpoints
from covid_lm.errors import RunError
from covid_lm.termination import Terminated, Termination
from covid_lm.training_progress import Progress

SAVE_INTERVAL = 60.0  # seconds at least
SAVE_SHARE = 0.05  # of the time at most


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Ends the run with one line, instead of training on with ruined weights.

    Args:
        steps_before: of the first epoch, done before this call of `fit`.
        on_stop: called first, to remove checkpoints from which the same steps would follow.
    """

    def __init__(self, steps_before: int = 0, on_stop: Callable[[], None] | None = None):
        super().__init__()
        self.steps_before = steps_before
        self.on_stop = on_stop

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch = epoch + 1
        # Now, since Keras' JAX trainer takes the variables away while it trains.
        self.rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        if math.isfinite(logs["loss"]):
            return
        if self.on_stop is not None:
            self.on_stop()
        raise RunError(
            f"epoch {self.epoch}, step {self.steps_before + batch + 1}: the loss is "
            f"{logs['loss']}; lower --learning_rate (now {self.rate:g})"
        )


class SaveWithinEpoch(keras.callbacks.Callback):
    """Saves every minute, more rarely where saving takes long, and when SIGTERM has come.

    Args:
        progress: when the epoch, or what is left of it, began.
    """

    def __init__(self, checkpoints: Checkpoints, progress: Progress, termination: Termination):
        super().__init__()
        self.checkpoints = checkpoints
        self.progress = progress
        self.termination = termination
        self.started = time.monotonic()
        self.due = self.started + SAVE_INTERVAL

    def on_train_batch_end(self, batch: int, logs: dict) -> None:
        now = time.monotonic()
        if now < self.due and not self.termination.requested:
            return
        progress = self.progress.after(batch + 1, dict(logs), now - self.started)
        self.checkpoints.save(progress)
        if self.termination.requested:
            raise Terminated(
                f"SIGTERM: saved after epoch {progress.epoch}, step {progress.step}; "
                "the same command resumes"
            )
        saved = time.monotonic()
        self.due = saved + max(SAVE_INTERVAL, (saved - now) / SAVE_SHARE)
