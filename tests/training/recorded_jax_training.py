"""`jax_worker` that also writes the loss of every step to the file named by $LOSSES."""

import json
import os

from covid_lm.training import loop
from covid_lm.training.jax import jax_worker

LOSSES = []


class Recorder(loop.StopOnNonFiniteLoss):
    """The loss of every step; Keras reports the mean over an epoch's steps so far."""

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        before = self.total if batch else 0.0
        self.total = float(logs["loss"]) * (batch + 1)
        LOSSES.append(self.total - before)


if __name__ == "__main__":
    loop.StopOnNonFiniteLoss = Recorder
    jax_worker.main()
    with open(os.environ["LOSSES"], "w", encoding="utf-8") as file:
        json.dump(LOSSES, file)
