"""What watches a training run, epoch by epoch."""

import json
import math
import time

import keras

from covid_lm.errors import RunError


class StopOnNonFiniteLoss(keras.callbacks.Callback):
    """Ends the run with one line, instead of training on with ruined weights."""

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        if not math.isfinite(logs["loss"]):
            rate = float(self.model.optimizer.learning_rate)
            raise RunError(
                f"epoch {self.epoch}, step {batch + 1}: the loss is {logs['loss']}; "
                f"lower --learning_rate (now {rate:g})"
            )


class EpochLog(keras.callbacks.Callback):
    """One JSON line per epoch: its number, loss and accuracy, validation's too, and seconds."""

    def __init__(self, path: str):
        super().__init__()
        self.path = path

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.started = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        seconds = round(time.monotonic() - self.started, 3)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"epoch": epoch + 1, **logs, "seconds": seconds}) + "\n")
