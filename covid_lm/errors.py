"""Errors that end a command, each with its exit status."""


class InputError(ValueError):
    """Wrong flags or unusable input. Its text is one line: what is wrong and what to do."""

    exit_status = 2


class RunError(RuntimeError):
    """A failure while running (non-finite loss, full disk). Its text is one line, as above."""

    exit_status = 1
