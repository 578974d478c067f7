"""Versions of a model, published so that a watching server never loads an incomplete one."""

import contextlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable

from covid_lm.errors import InputError
from covid_lm.files import (
    copy_tree_to_store,
    exists,
    flush_to_disk,
    is_directory,
    is_remote,
    list_names,
    remove_tree,
)

STAGING = re.compile(r"\.staging-(\d+)-[0-9a-f]+")


def publish_version(directory: str, write: Callable[[str], None]) -> str:
    """Publishes a new version below `directory`.

    `write(path)` fills a hidden directory next to the versions. Flushed to disk, it is renamed to
    the next free integer: TF Serving loads any directory with an integer name, complete or not.

    Returns its path. After an error of `write` nothing is published, and no staged file remains.
    """
    if is_remote(directory):
        return _upload_version(directory, write)
    os.makedirs(directory, exist_ok=True)
    _remove_abandoned(directory)
    staged = os.path.join(directory, f".staging-{os.getpid()}-{uuid.uuid4().hex}")
    try:
        write(staged)
        for folder, _, names in os.walk(staged):
            for name in names:
                flush_to_disk(os.path.join(folder, name))
            flush_to_disk(folder)
        path = _rename_to_next_version(staged, directory)
    except BaseException:
        shutil.rmtree(staged, ignore_errors=True)
        raise
    flush_to_disk(directory)
    return path


def versions(directory: str) -> list[int]:
    """The published versions, in ascending order."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(int(name) for name in list_names(directory) if re.fullmatch(r"\d+", name))
    return []


def resolve_model(model: str, flag: str = "model") -> tuple[str, str]:
    """The directories of saved_models/NAME[/VERSION] and of that version, or of the newest.

    Raises InputError, which names the flag, if there is no such model or version.
    """
    model = model.rstrip("/")
    if exists(os.path.join(model, "saved_model.pb")):
        return os.path.dirname(model), model
    if not is_directory(model):
        raise InputError(f"--{flag}={model}: no such directory; give saved_models/NAME[/VERSION]")
    published = versions(model)
    if not published:
        raise InputError(f"--{flag}={model}: no exported version in it; run tools/export.py")
    return model, os.path.join(model, str(published[-1]))


def _upload_version(directory: str, write: Callable[[str], None]) -> str:
    """Uploads `saved_model.pb` last: servers wait for it. Two exporters may take one number."""
    with tempfile.TemporaryDirectory() as local:
        staged = os.path.join(local, "version")
        write(staged)
        path = _next_version(directory)
        try:
            copy_tree_to_store(staged, path, last="saved_model.pb")
        except BaseException:
            remove_tree(path)
            raise
    return path


def _next_version(directory: str) -> str:
    return os.path.join(directory, str(max(versions(directory), default=0) + 1))


def _rename_to_next_version(staged: str, directory: str) -> str:
    while True:
        path = _next_version(directory)
        try:
            os.rename(staged, path)
            return path
        except OSError:
            if not os.path.exists(path):  # else another exporter has just taken that number
                raise


def _remove_abandoned(directory: str) -> None:
    """Removes staged files of exporters on this machine that were killed."""
    for name in os.listdir(directory):
        match = STAGING.fullmatch(name)
        if match and not _is_running(int(match[1])):
            shutil.rmtree(os.path.join(directory, name), ignore_errors=True)


def _is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except OSError as error:
        return isinstance(error, PermissionError)  # a process of another user
    return True
