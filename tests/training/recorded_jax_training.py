"""`jax_worker` that also writes the loss of every step to the file named by $LOSSES."""

import json
import os

from covid_lm.training.jax import jax_worker as jax_training

LOSSES = []


class Recorder(jax_training.StopOnNonFiniteLoss):
    """Keras tells the mean over an epoch's steps so far."""

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        before = self.total if batch else 0.0
        self.total = float(logs["loss"]) * (batch + 1)
        LOSSES.append(self.total - before)


if __name__ == "__main__":
    jax_training.StopOnNonFiniteLoss = Recorder
    jax_training.main()
    with open(os.environ["LOSSES"], "w", encoding="utf-8") as file:
        json.dump(LOSSES, file)
