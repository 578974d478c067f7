"""A lock on a folder, for processes that write to the same one."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def locked_folder(folder: str, when_locked: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Locks an existing folder on this machine until the block ends.

    Args:
        when_locked: called if another process has the lock. This one then waits for it, unless the
            function raises an error.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            when_locked()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
