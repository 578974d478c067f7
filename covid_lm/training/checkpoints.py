"""Checkpoints of a training run: each one file, whole or not there, the last two kept.

A file `step-NNNNNNNNN.npz` holds every variable of model and optimizer (weights, moments, step
count, the states of the random generators), the weights of the best epoch so far, and the
`Progress` as JSON. Nothing is pickled, and each array carries a checksum (zip's CRC-32). The order
of the data follows from the seed and the epoch, so it needs no room.
"""

import dataclasses
import json
import math
import os

import keras
import numpy as np

from covid_lm.errors import InputError, RunError
from covid_lm.files import atomic_write, list_names, local_copy, make_directories, remove
from covid_lm.training.run_directory import checkpoint_files


@dataclasses.dataclass
class Progress:
    """The finished epochs and the part of the one that is running.

    Attributes:
        history: of each finished epoch its metrics, `val_loss` among them where one is monitored,
            and its seconds.
        step: steps done of the next epoch.
        means: metrics so far, averaged over those steps, which are of one size.
        seconds: spent on them.
    """

    history: list[dict] = dataclasses.field(default_factory=list)
    step: int = 0
    means: dict = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    @property
    def epoch(self) -> int:
        """Number of finished epochs."""
        return len(self.history)

    @property
    def best_epoch(self) -> int | None:
        """The first epoch, counted from 1, of the lowest validation loss; None before any."""
        losses = [metrics.get("val_loss", math.nan) for metrics in self.history]
        finite = [loss for loss in losses if math.isfinite(loss)]
        return losses.index(min(finite)) + 1 if finite else None

    @property
    def stopped(self) -> bool:
        """Whether the validation loss has not fallen for PATIENCE epochs."""
        return self.best_epoch is not None and self.epoch - self.best_epoch >= PATIENCE

    def after(self, steps: int, means: dict, seconds: float) -> "Progress":
        """With `steps` more of this epoch, whose metrics average to `means`."""
        total = self.step + steps
        merged = {
            name: (self.step * self.means.get(name, 0.0) + steps * value) / total
            for name, value in means.items()
        }
        return Progress(self.history, total, merged, self.seconds + seconds)

    def epoch_finished(self, validation: dict) -> "Progress":
        """With this epoch among the finished ones."""
        metrics = {"epoch": self.epoch + 1, **self.means, **validation}
        return Progress([*self.history, {**metrics, "seconds": round(self.seconds, 3)}])


KEPT = 2
PROGRESS = "progress.json"


class Checkpoints:
    """The checkpoints of one model in one directory.

    Attributes:
        best_weights: of the best epoch, as `model.get_weights()` gives them; None before any.

    Args:
        directory: made if absent.
        model: a compiled keras Model.
    """

    def __init__(self, directory: str, model: keras.Model):
        self.directory = directory
        self.model = model
        self.best_weights: list[np.ndarray] | None = None
        self._damaged: set[str] = set()
        make_directories(directory)
        for name in list_names(directory):
            if name.endswith(".part"):  # of a process that was killed while it wrote
                remove(os.path.join(directory, name))
        model.optimizer.build(model.trainable_variables)

    def save(self, progress: Progress) -> None:
        """Writes a checkpoint beside the others, then removes all but the last two whole ones.

        Raises:
            RunError: it can't be written (a full disk, say); the others are as they were.
        """
        number = int(self.model.optimizer.iterations.numpy())
        path = os.path.join(self.directory, f"step-{number:09}.npz")
        content = json.dumps(dataclasses.asdict(progress)).encode()
        arrays = {PROGRESS: np.frombuffer(content, np.uint8)}
        arrays |= {
            name: keras.ops.convert_to_numpy(variable) for name, variable in self._variables()
        }
        for index, weight in enumerate(self.best_weights or ()):
            arrays[f"best/{index:04}"] = weight
        try:
            with atomic_write(path) as staged, open(staged, "wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
        except OSError as error:
            raise RunError(
                f"{path}: can't be written ({error.strerror}); make room and give the same "
                "command again: it resumes from the checkpoint before"
            ) from None
        self._damaged.discard(path)
        stored = checkpoint_files(self.directory)
        whole = [path for path in stored if path not in self._damaged]
        for old in set(stored) - set(whole[-KEPT:]):
            remove(old)

    def restore(self) -> Progress:
        """Sets the variables to those of the newest whole checkpoint; says so if one is damaged.

        Returns:
            The progress it holds, or none made where there is no checkpoint.

        Raises:
            InputError: no checkpoint is whole, or one is of another model.
        """
        paths = checkpoint_files(self.directory)
        for path in reversed(paths):
            try:
                arrays = read_checkpoint(path)
            except Exception as error:  # whatever the readers of zip and npy make of the damage
                print(f"{path}: damaged ({error}); the checkpoint before it is used")
                self._damaged.add(path)
                continue
            return self.assign(path, arrays)
        if paths:
            raise InputError(f"{self.directory}: no whole checkpoint; remove it to start anew")
        return Progress()

    def discard(self) -> None:
        """Removes them all."""
        for path in checkpoint_files(self.directory):
            remove(path)

    def _variables(self) -> list[tuple[str, keras.Variable]]:
        owners = {"model": self.model, "optimizer": self.model.optimizer}
        return [
            (f"{owner}/{index:04}", variable)
            for owner, owned in owners.items()
            for index, variable in enumerate(owned.variables)
        ]

    def assign(self, path: str, arrays: dict[str, np.ndarray]) -> Progress:
        """Sets the variables to what `read_checkpoint` gave; raises as `restore`.

        Args:
            path: where it was read, for the message.
        """
        progress = Progress(**json.loads(arrays.pop(PROGRESS).tobytes()))
        best = sorted(name for name in arrays if name.startswith("best/"))
        self.best_weights = [arrays.pop(name) for name in best] or None
        variables = dict(self._variables())
        shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
        if shapes != {name: array.shape for name, array in arrays.items()}:
            raise InputError(f"{path}: of another model or version; remove it to start anew")
        for name, variable in variables.items():
            variable.assign(arrays[name])
        return progress


def read_checkpoint(path: str) -> dict[str, np.ndarray]:
    """The arrays of one checkpoint by name; raises whatever its damage causes."""
    with local_copy(path) as copy, np.load(copy, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


PATIENCE = 3  # epochs without a lower validation loss
