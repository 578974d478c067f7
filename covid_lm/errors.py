"""Errors that end a command, each with its exit status."""

import errno


class InputError(ValueError):
    """Wrong flags or unusable input. Its text is one line: what is wrong and what to do."""

    exit_status = 2


class RunError(RuntimeError):
    """A failure while running (non-finite loss, full disk). Its text is one line, as above."""

    exit_status = 1


class UnusableFile(OSError, InputError):
    """A file that must not be read: not a regular one, too large, sparse, damaged or hostile.

    An `OSError`, so that one bad image counts as unreadable, and an `InputError` where nothing
    catches it.
    """

    def __init__(self, path: str, problem: str):
        super().__init__(errno.EINVAL, problem, path)

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def one_line(text: str) -> str:
    """The text in one line of at most 200 characters: the cause is at its start or at its end."""
    text = " ".join(text.split())
    return text if len(text) <= 200 else f"{text[:97]}...{text[-100:]}"


def reason(error: BaseException) -> str:
    """The message of another library's error in one line, or the name of its class."""
    return one_line(getattr(error, "strerror", None) or str(error)) or type(error).__name__
