"""Checkpoints of a run: one file each, written atomically, of which the last two are kept.

A file `step-NNNNNNNNN.npz` holds every variable of model and optimizer (weights, moments, averages,
step count, states of the random generators), the weights of the best epoch so far, the metrics of
an epoch in progress, and the `Progress` as JSON. Nothing is pickled. The SHA-256 digest of the
whole file follows at its end and is checked before anything is read: zip's own checksums leave out
its headers. The order of the data follows from the seed and the epoch, so it is not stored.
"""

import dataclasses
import json
import math
import os
from collections.abc import Callable

import keras
import numpy as np

from covid_lm.errors import InputError, RunError, reason
from covid_lm.files import (
    atomic_write,
    list_names,
    local_copy,
    make_directories,
    remove,
    write_json_lines,
)
from covid_lm.models.saving import append_digest, check_digest
from covid_lm.training.run_directory import checkpoint_files

KEPT = 2  # checkpoints
PATIENCE = 3  # epochs without a lower validation loss
PROGRESS = "progress.json"


@dataclasses.dataclass
class Progress:
    """Finished epochs, and the position within the current one.

    Attributes:
        history: one dict for each finished epoch: `epoch` (from 1), its metrics and `seconds`.
        step: steps done in the current epoch.
        means: training metrics over those steps.
        seconds: spent on those steps.
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
        """The first epoch, from 1, with the lowest finite `val_loss`; None without one."""
        losses = [metrics.get("val_loss", math.nan) for metrics in self.history]
        finite = [loss for loss in losses if math.isfinite(loss)]
        return losses.index(min(finite)) + 1 if finite else None

    @property
    def stopped(self) -> bool:
        """True if the validation loss has not fallen for PATIENCE epochs."""
        return self.best_epoch is not None and self.epoch - self.best_epoch >= PATIENCE

    def within_epoch(self, steps: int, means: dict, seconds: float) -> "Progress":
        """The progress after more steps, which took `seconds`, with the epoch's means so far."""
        return Progress(self.history, self.step + steps, means, self.seconds + seconds)

    def epoch_finished(self, validation: dict) -> "Progress":
        """The progress with the current epoch finished."""
        metrics = {"epoch": self.epoch + 1, **self.means, **validation}
        return Progress([*self.history, {**metrics, "seconds": round(self.seconds, 3)}])


class Checkpoints:
    """The checkpoints of one model in one directory.

    Attributes:
        best_weights: `model.get_weights()` of the best epoch; None before there is one.

    Args:
        directory: made if absent.
        model: a compiled Keras model.
    """

    def __init__(self, directory: str, model: keras.Model):
        self.directory = directory
        self.model = model
        self.best_weights: list[np.ndarray] | None = None
        self._metrics: list[np.ndarray] = []
        self._damaged: set[str] = set()
        make_directories(directory)
        for name in list_names(directory):
            if name.endswith(".part"):  # left by a process that was killed while writing
                remove(os.path.join(directory, name))
        model.optimizer.build(model.trainable_variables)

    def save(self, progress: Progress) -> int:
        """Writes a checkpoint, then removes all but the last two undamaged ones.

        Returns:
            bytes of its arrays.

        Raises:
            RunError: it can't be written (a full disk, say); the others are unchanged.
        """
        number = int(self.model.optimizer.iterations.numpy())
        path = os.path.join(self.directory, f"step-{number:09}.npz")
        content = json.dumps(dataclasses.asdict(progress)).encode()
        variables = self._variables()
        if progress.step:
            variables |= _numbered("metrics", self.model.metrics_variables)
        else:  # the epoch is over
            self._metrics = []
        arrays = {
            PROGRESS: np.frombuffer(content, np.uint8),
            **{name: keras.ops.convert_to_numpy(value) for name, value in variables.items()},
            **_numbered("best", self.best_weights or []),
        }
        try:
            with atomic_write(path) as staged:
                with open(staged, "wb") as file:
                    np.savez(file, allow_pickle=False, **arrays)
                append_digest(staged)
        except OSError as error:
            raise RunError(
                f"{path}: can't be written ({error.strerror}); make room and repeat the command: "
                "it resumes from the previous checkpoint"
            ) from None
        self._damaged.discard(path)
        stored = checkpoint_files(self.directory)
        undamaged = [path for path in stored if path not in self._damaged]
        for old in set(stored) - set(undamaged[-KEPT:]):
            remove(old)
        return sum(array.nbytes for array in arrays.values())

    def restore(self) -> Progress:
        """Sets all variables from the newest undamaged checkpoint and prints which are damaged.

        Returns:
            Its progress; an empty one if there is no checkpoint.

        Raises:
            InputError: all checkpoints are damaged, or the newest is another model's.
        """
        paths = checkpoint_files(self.directory)
        for path in reversed(paths):
            try:
                arrays = read_checkpoint(path)
            except Exception as error:  # a file that isn't ours can raise many types
                print(f"{path}: damaged ({reason(error)}); using the previous checkpoint")
                self._damaged.add(path)
                continue
            return self.assign(path, arrays)
        if paths:
            raise InputError(
                f"{self.directory}: all checkpoints are damaged; remove the directory to start over"
            )
        return Progress()

    def set_final_weights(self) -> None:
        """Sets the weights of the best epoch; without one, the optimizer's averages, if any."""
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)
        elif self.model.optimizer.use_ema:
            self.model.optimizer.assign_averages(self.model.trainable_variables)

    def add_metrics(self) -> None:
        """Adds the metrics' sums and counts over an epoch's earlier steps, once after `restore`.

        Called after the first new step, since Keras makes some metrics' variables only then.
        """
        for variable, value in zip(self.model.metrics_variables, self._metrics, strict=False):
            variable.assign(variable + value)
        self._metrics = []

    def discard(self) -> None:
        """Removes all checkpoints."""
        for path in checkpoint_files(self.directory):
            remove(path)

    def assign(self, path: str, arrays: dict[str, np.ndarray]) -> Progress:
        """Sets all variables from the arrays of the checkpoint at `path`; raises as `restore`."""
        content = json.loads(arrays[PROGRESS].tobytes())
        variables = self._variables()
        shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
        owned = [name for name in arrays if name.startswith(("model/", "optimizer/"))]
        if shapes != {name: arrays[name].shape for name in owned}:
            raise InputError(
                f"{path}: written by another model or version; remove it to start over"
            )
        for name, variable in variables.items():
            variable.assign(arrays[name])
        self.best_weights = _group("best", arrays) or None
        self._metrics = _group("metrics", arrays)
        return Progress(**content)

    def _variables(self) -> dict[str, keras.Variable]:
        model, optimizer = self.model.variables, self.model.optimizer.variables
        return _numbered("model", model) | _numbered("optimizer", optimizer)


def resume(
    run_dir: str, model: keras.Model, log_line: Callable[[dict], dict] = dict
) -> tuple[Checkpoints, Progress]:
    """Opens a run's checkpoints and prints the position of the newest; raises as `restore`.

    Args:
        log_line: gives the line of `metrics.jsonl`, which is written again, for an epoch's metrics.
    """
    checkpoints = Checkpoints(os.path.join(run_dir, "checkpoints"), model)
    progress = checkpoints.restore()
    if progress.epoch:
        lines = [log_line(metrics) for metrics in progress.history]
        write_json_lines(os.path.join(run_dir, "metrics.jsonl"), lines)
    if progress.epoch or progress.step:
        print(f"resumed after epoch {progress.epoch}, step {progress.step}", flush=True)
    return checkpoints, progress


def read_checkpoint(path: str) -> dict[str, np.ndarray]:
    """The arrays of one checkpoint by name; raises UnusableFile or OSError if it is damaged."""
    with local_copy(path) as copy:
        check_digest(copy)
        with np.load(copy, allow_pickle=False) as stored:  # a zip may have text at its end
            return {name: stored[name] for name in stored.files}


def _numbered(group: str, values: list) -> dict:
    return {f"{group}/{index:04}": value for index, value in enumerate(values)}


def _group(group: str, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    return [arrays[name] for name in sorted(arrays) if name.startswith(f"{group}/")]
