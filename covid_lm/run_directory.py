"""A run's files: `saved_models/NAME/run/`, which appears when the run is done, whole.

Until then it is `saved_models/NAME/.run-in-progress/`, with checkpoints to resume from.

```
config.json     what the run was told, and the classifier that it built
vocab.txt       the classifier's vocabulary
metrics.jsonl   one line per epoch
metrics.json    the test split under every protocol
checkpoints/    the weights
samples/        a few test images, to try the prediction on
```
"""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Sequence

from covid_lm.data.records import ImageRecord
from covid_lm.errors import InputError

NUM_SAMPLES = 6
UNFINISHED = ".run-in-progress"
CHECKPOINT_NAME = re.compile(r"step-\d+\.npz")


@contextlib.contextmanager
def staged_run(model_dir: str) -> Iterator[str]:
    """A hidden directory to fill, renamed to `model_dir`/run at the end.

    A run that was broken off after its first checkpoint leaves it, to be gone on with; any other
    error removes it.

    Raises:
        InputError: `model_dir` can't be written, or another process is filling the directory.
    """
    staged = os.path.join(model_dir, UNFINISHED)
    try:
        os.makedirs(staged, exist_ok=True)
        descriptor = os.open(staged, os.O_RDONLY)
    except OSError as error:
        raise InputError(
            f"{model_dir}: can't be written ({error.strerror}); choose another --output_dir"
        ) from None
    try:
        _lock(descriptor, model_dir)
        if not _checkpoints(staged):
            _empty(staged)
        try:
            yield staged
            run_dir = _publish(staged, model_dir)
        except BaseException:
            if not _checkpoints(staged):
                shutil.rmtree(staged, ignore_errors=True)
                with contextlib.suppress(OSError):
                    os.rmdir(model_dir)  # only if this run was to be the first thing in it
            raise
    finally:
        os.close(descriptor)
    for path in _checkpoints(run_dir):
        os.remove(path)


def resumed_config(staged: str, run: dict, decisive: Sequence[str]) -> dict:
    """What the unfinished run in `staged` was told; `run` itself if there is none.

    Args:
        decisive: keys of `run` that the result depends on.

    Raises:
        InputError: the unfinished run was told something else.
    """
    if not _checkpoints(staged):
        return run
    try:
        with open(os.path.join(staged, "config.json"), encoding="utf-8") as file:
            before = json.load(file)["run"]
    except (OSError, ValueError, KeyError):
        raise InputError(f"{staged}: its config.json is damaged; remove the directory") from None
    changes = [
        f"{key} {before.get(key)} (now {run[key]})"
        for key in decisive
        if before.get(key) != run[key]
    ]
    if changes:
        raise InputError(
            f"{staged}: holds an unfinished run with {', '.join(changes)}; repeat its flags to "
            "resume it, give another --name, or remove the directory"
        )
    return before


def checkpoint_files(directory: str) -> list[str]:
    """Paths of the checkpoints in a directory, the newest last; none if it is absent."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = [name for name in os.listdir(directory) if CHECKPOINT_NAME.fullmatch(name)]
        return [os.path.join(directory, name) for name in sorted(names)]
    return []


def write_json(path: str, content: dict) -> None:
    """Writes beside, then renames."""
    with open(f"{path}.part", "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
    os.replace(f"{path}.part", path)


def write_json_lines(path: str, lines: Sequence[dict]) -> None:
    """One JSON object a line; writes beside, then renames."""
    with open(f"{path}.part", "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    os.replace(f"{path}.part", path)


def write_samples(records: Sequence[ImageRecord], run_dir: str) -> None:
    """Writes a few images, evenly picked, under their own names."""
    directory = os.path.join(run_dir, "samples")
    os.makedirs(directory, exist_ok=True)
    for record in records[:: max(len(records) // NUM_SAMPLES, 1)][:NUM_SAMPLES]:
        with open(os.path.join(directory, record.filename), "wb") as file:
            file.write(record.read())


def sample_records(run_dir: str) -> tuple[ImageRecord, ...]:
    """The run's sample images, of which only names and bytes are known."""
    directory = os.path.join(run_dir, "samples")
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        raise InputError(f"{directory}: no such directory; is the run finished?") from None
    paths = [os.path.join(directory, name) for name in names]
    return tuple(
        ImageRecord(
            filename=name, label=0, split="test", path=path, read=pathlib.Path(path).read_bytes
        )
        for name, path in zip(names, paths, strict=True)
    )


def _checkpoints(run_dir: str) -> list[str]:
    return checkpoint_files(os.path.join(run_dir, "checkpoints"))


def _publish(staged: str, model_dir: str) -> str:
    run_dir, before = os.path.join(model_dir, "run"), os.path.join(model_dir, ".run-before")
    shutil.rmtree(before, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        os.rename(run_dir, before)
    os.rename(staged, run_dir)
    shutil.rmtree(before, ignore_errors=True)
    return run_dir


def _lock(descriptor: int, model_dir: str) -> None:
    """Held until the descriptor is closed, by the death of the process at the latest."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"{model_dir}: another process is training there; wait for it, or give another --name"
        ) from None


def _empty(directory: str) -> None:
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.remove(entry.path)
