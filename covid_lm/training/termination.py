"""SIGTERM, which a preemptible machine sends half a minute before it stops."""

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Iterator

from covid_lm.command_line import end_at_once
from covid_lm.errors import RunError

EXIT_STATUS = 128 + signal.SIGTERM
GRACE = 8.0  # seconds to save the state; the documentation promises an end within 10


class Terminated(RunError):
    """SIGTERM arrived, and the state was saved."""

    exit_status = EXIT_STATUS
    is_resumable = True


class Termination:
    """Within `with Termination() as termination`, SIGTERM ends the process with status 143.

    It ends at once, but within `with termination.deferred()` only after GRACE seconds, in which
    code that sees `termination.requested` may save the state and raise `Terminated`. Python's
    signal handlers wait until a running call into TensorFlow returns, which may take longer; the
    wake-up byte that Python also writes does not.

    It does nothing outside the main thread, where Python can't handle signals.
    """

    def __init__(self):
        self._requested = threading.Event()
        self._deferred = threading.Event()

    @property
    def requested(self) -> bool:
        """True if the signal has arrived."""
        return self._requested.is_set()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Allows GRACE seconds for saving the state."""
        self._deferred.set()
        try:
            yield
        finally:
            self._deferred.clear()

    def __enter__(self) -> "Termination":
        self._stack = contextlib.ExitStack()
        if threading.current_thread() is threading.main_thread():
            self._stack.enter_context(self._watched())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        before = signal.signal(signal.SIGTERM, lambda *_: None)
        descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        thread = threading.Thread(target=self._watch, args=(reader, os.getpid()), daemon=True)
        thread.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(descriptor)
            signal.signal(signal.SIGTERM, before)
            writer.close()

    def _watch(self, reader: socket.socket, process_id: int) -> None:
        with reader:
            while number := reader.recv(1):
                if number[0] == signal.SIGTERM and os.getpid() == process_id:
                    break
            else:
                return
            self._requested.set()
            if self._deferred.is_set():
                reader.settimeout(GRACE)
                with contextlib.suppress(TimeoutError):
                    while reader.recv(1):
                        pass
                    return  # the block has ended: saved, and about to exit
        end_at_once("SIGTERM; the same command resumes from what was saved last", EXIT_STATUS)
