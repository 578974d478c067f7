"""A pre-training run's directory, from which it can go on.

```
saved_models/NAME/run/
  config.json                what the run was told, and digests of the sequences that it reads
  metrics.jsonl              one line per epoch
  checkpoints/epoch-0003/    after the last whole epoch: state.npz (weights, optimizer),
                             history.json
```
"""

import contextlib
import glob
import json
import os
import shutil
import zipfile
from collections.abc import Iterator

import keras
import numpy as np

from covid_lm.errors import InputError
from covid_lm.files import write_json, write_json_lines


@contextlib.contextmanager
def resumable_run(model_dir: str) -> Iterator[str]:
    """`model_dir`/run, made if need be; what stands there after an error is the last whole epoch.

    Raises:
        InputError: `model_dir` can't be written.
    """
    run_dir = os.path.join(model_dir, "run")
    is_new = not os.path.isdir(run_dir)
    try:
        os.makedirs(run_dir, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{model_dir}: can't be written ({error.strerror}); choose another --output_dir"
        ) from None
    try:
        yield run_dir
    except BaseException:
        if is_new and not _epochs(run_dir):
            shutil.rmtree(run_dir, ignore_errors=True)
            with contextlib.suppress(OSError):
                os.rmdir(model_dir)  # only if this run was to be the first thing in it
        raise


def whole_epochs(run_dir: str) -> int:
    """How many epochs the run there has finished."""
    epochs = _epochs(run_dir)
    return int(epochs[-1].rpartition("-")[2]) if epochs else 0


def save_epoch(run_dir: str, model: keras.Model, history: list[dict]) -> None:
    """Keeps the state after an epoch, whole or not at all, in place of the epoch before's.

    Args:
        run_dir: of the run.
        model: compiled; its weights and its optimizer's variables are kept.
        history: one entry per epoch so far.
    """
    checkpoints = os.path.join(run_dir, "checkpoints")
    staged = os.path.join(checkpoints, ".staged")
    shutil.rmtree(staged, ignore_errors=True)
    os.makedirs(staged)
    state = {
        name: keras.ops.convert_to_numpy(variable) for name, variable in _variables(model).items()
    }
    np.savez(os.path.join(staged, "state.npz"), **state)
    write_json(os.path.join(staged, "history.json"), {"history": history})
    older = _epochs(run_dir)
    os.rename(staged, os.path.join(checkpoints, f"epoch-{len(history):04}"))
    for directory in older:
        shutil.rmtree(directory)
    write_history(run_dir, history)


def restore_epoch(run_dir: str, model: keras.Model) -> list[dict]:
    """Brings back the state after the last whole epoch.

    Args:
        run_dir: of the run.
        model: compiled, of the same shape.

    Returns:
        The history as it was given to `save_epoch`; empty if there was no epoch.

    Raises:
        InputError: the checkpoint can't be loaded.
    """
    epochs = _epochs(run_dir)
    if not epochs:
        return []
    directory = epochs[-1]
    model.optimizer.build(model.trainable_variables)
    try:
        with open(os.path.join(directory, "history.json"), encoding="utf-8") as file:
            history = json.load(file)["history"]
        with np.load(os.path.join(directory, "state.npz")) as state:
            for name, variable in _variables(model).items():
                variable.assign(state[name])
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{directory}: can't be loaded ({str(error).splitlines()[0]}); remove it to begin anew"
        ) from None
    write_history(run_dir, history)
    return history


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    variables = {f"weight-{number}": one for number, one in enumerate(model.weights)}
    return variables | {
        f"optimizer-{number}": one for number, one in enumerate(model.optimizer.variables)
    }


def write_history(run_dir: str, history: list[dict]) -> None:
    """Writes `metrics.jsonl` whole: a line that no checkpoint stands behind would come twice."""
    write_json_lines(os.path.join(run_dir, "metrics.jsonl"), history)


def _epochs(run_dir: str) -> list[str]:
    """Checkpoint directories, the last epoch's last."""
    return sorted(glob.glob(os.path.join(glob.escape(run_dir), "checkpoints", "epoch-????")))
