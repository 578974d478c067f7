"""A run's files: `saved_models/NAME/run/`, which appears when the run is done, whole.

Until then it is `saved_models/NAME/.run-in-progress/`, with checkpoints to resume from.

```
config.json     what the run was told, and the classifier that it built
vocab.txt       the classifier's vocabulary
metrics.jsonl   one line per epoch
metrics.json    the test split under every protocol
predictions.csv what was said of each of its images
report.html     all of that to look at
README.md       the model card
checkpoints/    the weights
samples/        a few test images, to try the prediction on
```
"""

import contextlib
import fcntl
import functools
import json
import os
import re
from collections.abc import Iterator, Sequence

from covid_lm.data.records import ImageRecord
from covid_lm.errors import InputError
from covid_lm.files import (
    atomic_write,
    copy_tree_to_store,
    is_directory,
    is_remote,
    list_names,
    make_directories,
    read_bytes,
    remove,
    remove_tree,
)
from covid_lm.protocols import without_removed_options

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
        make_directories(staged)
    except OSError as error:
        raise InputError(
            f"{model_dir}: can't be written ({error.strerror}); choose another --output_dir"
        ) from None
    with _locked(staged, model_dir):
        if not _checkpoints(staged):
            for name in list_names(staged):
                path = os.path.join(staged, name)
                remove_tree(path) if is_directory(path) else remove(path)
        try:
            yield staged
            run_dir = _publish(staged, model_dir)
        except BaseException:
            if not _checkpoints(staged):
                remove_tree(staged)
                with contextlib.suppress(OSError):
                    os.rmdir(model_dir)  # only if this run was to be the first thing in it
            raise
    for path in _checkpoints(run_dir):
        remove(path)


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
        stored = json.loads(read_bytes(os.path.join(staged, "config.json")))
        before = {"backend": "tensorflow", **stored["run"]}  # older runs had no choice
    except (OSError, ValueError, KeyError):
        raise InputError(f"{staged}: its config.json is damaged; remove the directory") from None
    before = without_removed_options(before, staged)
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
        names = [name for name in list_names(directory) if CHECKPOINT_NAME.fullmatch(name)]
        return [os.path.join(directory, name) for name in names]
    return []


def write_samples(records: Sequence[ImageRecord], run_dir: str) -> None:
    """Writes a few images, evenly picked, under their own names."""
    directory = os.path.join(run_dir, "samples")
    make_directories(directory)
    for record in records[:: max(len(records) // NUM_SAMPLES, 1)][:NUM_SAMPLES]:
        path = os.path.join(directory, record.filename)
        with atomic_write(path) as staged, open(staged, "wb") as file:
            file.write(record.read())


def sample_records(run_dir: str) -> tuple[ImageRecord, ...]:
    """The run's sample images, of which only names and bytes are known."""
    directory = os.path.join(run_dir, "samples")
    try:
        names = list_names(directory)
    except FileNotFoundError:
        raise InputError(f"{directory}: no such directory; is the run finished?") from None
    paths = [os.path.join(directory, name) for name in names]
    return tuple(
        ImageRecord(
            filename=name,
            label=0,
            split="test",
            path=path,
            read=functools.partial(read_bytes, path),
        )
        for name, path in zip(names, paths, strict=True)
    )


def read_run(run_dir: str) -> dict:
    """A run's files: `name`, `config`, `metrics` and `epochs`, the log's lines.

    Args:
        run_dir: `saved_models/NAME/run`, or the one in progress when it has them all.

    Raises:
        InputError: no finished run there.
    """
    try:
        config, metrics, log = (
            read_bytes(os.path.join(run_dir, name)).decode()
            for name in ("config.json", "metrics.json", "metrics.jsonl")
        )
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: missing; is the run finished?") from None
    return {
        "name": os.path.basename(os.path.dirname(os.path.abspath(run_dir))),
        "config": json.loads(config),
        "metrics": json.loads(metrics),
        "epochs": [json.loads(line) for line in log.splitlines()],
    }


def _checkpoints(run_dir: str) -> list[str]:
    return checkpoint_files(os.path.join(run_dir, "checkpoints"))


def _publish(staged: str, model_dir: str) -> str:
    run_dir, before = os.path.join(model_dir, "run"), os.path.join(model_dir, ".run-before")
    if is_remote(model_dir):
        remove_tree(run_dir)
        copy_tree_to_store(staged, run_dir, last="config.json")
        remove_tree(staged)
        return run_dir
    remove_tree(before)
    with contextlib.suppress(FileNotFoundError):
        os.rename(run_dir, before)
    os.rename(staged, run_dir)
    remove_tree(before)
    return run_dir


@contextlib.contextmanager
def _locked(staged: str, model_dir: str) -> Iterator[None]:
    """One process at a time, until it is done or dead; a store knows no locks."""
    if is_remote(staged):
        yield
        return
    descriptor = os.open(staged, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{model_dir}: another process is training there; wait for it, or give another "
                "--name"
            ) from None
        yield
    finally:
        os.close(descriptor)
