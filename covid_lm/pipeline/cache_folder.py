"""Folders of caches: their lock, and the errors of writing to them."""

import contextlib
import errno
import sys
from collections.abc import Iterator

from covid_lm.data.folder_lock import locked_folder
from covid_lm.errors import InputError, RunError
from covid_lm.files import make_directories

UNUSABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR)


class CacheFull(RunError):
    """A cache that could not be written to its end. What it has is used by the next attempt."""

    is_resumable = True


@contextlib.contextmanager
def locked_cache(folder: str) -> Iterator[None]:
    """Makes a folder if it is absent, and locks it: another process waits until the end."""
    make_directories(folder)
    message = f"{folder}: waiting for another process that fills it"
    with locked_folder(folder, lambda: print(message, file=sys.stderr)):
        yield


@contextlib.contextmanager
def one_line_errors(folder: str) -> Iterator[None]:
    """Errors of writing to a cache, with one line that names its folder and what to do.

    Raises:
        InputError: the folder can't be written.
        CacheFull: no space is left, or another failure of the disk.
    """
    try:
        yield
    except OSError as error:
        if error.errno in UNUSABLE:
            raise InputError(
                f"{folder}: can't be written ({error.strerror}); give another --cache_dir"
            ) from None
        raise CacheFull(
            f"{folder}: can't be written ({error.strerror}); make room, or give another "
            "--cache_dir, and repeat the command: it continues where it ended"
        ) from None
