"""The directory of a training or pre-training run, and the files that a finished run leaves.

A finished run is `saved_models/NAME/run/`, which appears atomically. Until then its files are in
`saved_models/NAME/.run-in-progress/`, with the checkpoints to resume from. `tools/README.md` lists
the files.
"""

import contextlib
import dataclasses
import functools
import os
import re
from collections.abc import Iterator, Sequence

import tensorflow as tf

from covid_lm.data.folder_lock import locked_folder
from covid_lm.data.records import ImageRecord
from covid_lm.environment import origin
from covid_lm.errors import InputError, safe_names
from covid_lm.files import (
    atomic_write,
    copy_tree_to_store,
    is_directory,
    is_remote,
    list_names,
    make_directories,
    parse_json,
    read_bytes,
    read_json,
    remove,
    remove_tree,
)
from covid_lm.pipeline.decoded import DecodedRecords
from covid_lm.training.batch_size import global_batch_size
from covid_lm.training.devices import describe
from covid_lm.training.run_options import UNFINISHED, RunOptions

NUM_SAMPLES = 6
CHECKPOINT_NAME = re.compile(r"step-\d+\.npz")
RESOLVED = ("batch_size", "training_images", "validation_images")  # that a resumed run must match
KINDS = {"run": "training", "pretraining": "pre-training"}  # by the options' section in config.json


@contextlib.contextmanager
def staged_run(model_dir: str, section: str = "run") -> Iterator[str]:
    """A hidden directory for a run's files, renamed to `model_dir`/run at the end.

    After an error, the directory stays if it has a checkpoint to resume from, else it is removed.

    Args:
        section: the kind of run, a key of `KINDS`.

    Raises:
        InputError: `model_dir` can't be written or has a run of another kind, or another process
            is writing to the directory.
    """
    _refuse_other_kind(model_dir, section)
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
                    os.rmdir(model_dir)  # only if it is empty
            raise
    for path in _checkpoints(run_dir):
        remove(path)
    with contextlib.suppress(OSError):
        os.rmdir(os.path.join(run_dir, "checkpoints"))  # only if it is empty


def _refuse_other_kind(model_dir: str, section: str) -> None:
    for name in (UNFINISHED, "run"):
        path = os.path.join(model_dir, name, "config.json")
        try:
            config = read_json(path)
        except OSError:
            continue
        if KINDS.keys() & config and section not in config:
            raise InputError(f"{path}: not of a {KINDS[section]} run; give another --name")


def run_config(
    options: RunOptions, strategy: tf.distribute.Strategy, training: DecodedRecords
) -> dict:
    """A run's section of `config.json`: the options, the values derived from them, the origin."""
    devices, count = describe(strategy), len(training.records)
    if options.backend == "jax":
        processes = getattr(options, "num_processes", 1)
        devices = f"{processes} process{'es' * (processes > 1)} of JAX"
    return {
        **dataclasses.asdict(options),
        "batch_size": global_batch_size(options, count, strategy.num_replicas_in_sync),
        "training_images": training.summary,
        "devices": devices,
        **origin(options.command),
    }


def resumed_config(staged: str, run: dict, options: RunOptions, section: str = "run") -> dict:
    """The stored options of the unfinished run in `staged`; `run` itself if there is none.

    Args:
        run: as from `run_config`.
        section: as for `staged_run`.

    Raises:
        InputError: the result depends on a value that the unfinished run has differently.
    """
    if not _checkpoints(staged):
        return run
    try:
        stored = read_json(os.path.join(staged, "config.json")).get(section)
    except OSError:
        stored = None
    if not isinstance(stored, dict):
        raise InputError(f"{staged}: its config.json is damaged; remove the directory")
    resolved = {name: run[name] for name in RESOLVED if name in run}
    options.check_resumable(stored, staged, resolved)
    return {**run, **stored, "epochs": run["epochs"]}


def checkpoint_files(directory: str) -> list[str]:
    """Paths of the checkpoints in a directory, the newest last; none if it is absent."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        names = [name for name in list_names(directory) if CHECKPOINT_NAME.fullmatch(name)]
        return [os.path.join(directory, name) for name in names]
    return []


def write_samples(records: Sequence[ImageRecord], run_dir: str) -> None:
    """Writes a few images, evenly picked, under their own names where these are safe."""
    directory = os.path.join(run_dir, "samples")
    make_directories(directory)
    picked = records[:: max(len(records) // NUM_SAMPLES, 1)][:NUM_SAMPLES]
    names = safe_names([record.filename for record in picked])
    for record, name in zip(picked, names, strict=True):
        path = os.path.join(directory, name)
        with atomic_write(path) as staged, open(staged, "wb") as file:
            file.write(record.read())


def sample_records(run_dir: str) -> tuple[ImageRecord, ...]:
    """The run's sample images, with names and bytes only.

    Raises:
        InputError: there are none.
    """
    directory = os.path.join(run_dir, "samples")
    try:
        names = list_names(directory)
    except FileNotFoundError:
        raise InputError(f"{directory}: no such directory; is the run finished?") from None
    paths = [os.path.join(directory, name) for name in names]
    return tuple(
        ImageRecord(os.path.basename(path), 0, "test", path, functools.partial(read_bytes, path))
        for path in paths
    )


def read_run(run_dir: str) -> dict:
    """A run's files: `name`, `config`, `metrics` and `epochs`, the lines of `metrics.jsonl`.

    Args:
        run_dir: `saved_models/NAME/run`, or the unfinished run when it has all these files.

    Raises:
        InputError: no finished run there, or a damaged one.
    """
    log = os.path.join(run_dir, "metrics.jsonl")
    try:
        return {
            "name": os.path.basename(os.path.dirname(os.path.abspath(run_dir))),
            "config": read_json(os.path.join(run_dir, "config.json")),
            "metrics": read_json(os.path.join(run_dir, "metrics.json")),
            "epochs": [parse_json(line, log) for line in read_bytes(log).splitlines()],
        }
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: missing; is the run finished?") from None


def _checkpoints(run_dir: str) -> list[str]:
    return checkpoint_files(os.path.join(run_dir, "checkpoints"))


def _publish(staged: str, model_dir: str) -> str:
    run_dir, before = os.path.join(model_dir, "run"), os.path.join(model_dir, ".run-before")
    if is_remote(model_dir):
        remove_tree(run_dir)
        copy_tree_to_store(staged, run_dir, last="config.json", left_out=_checkpoints(staged))
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
    """Locks the directory for this process until the block ends; a store has no locks."""
    if is_remote(staged):
        yield
        return

    def refuse() -> None:
        raise InputError(
            f"{model_dir}: another process is training there; wait for it, or give another --name"
        ) from None

    with locked_folder(staged, refuse):
        yield
