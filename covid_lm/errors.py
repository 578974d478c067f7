"""Errors that end a command, and text from outside, made safe to print and to write."""

import collections
import errno
import itertools
import os
import unicodedata
from collections.abc import Iterable, Sequence

_ACTIVE = '\\/:*?"<>|'


class InputError(ValueError):
    """Wrong flags or unusable input. Its text is one line: what is wrong and what to do."""

    exit_status = 2


class RunError(RuntimeError):
    """A failure while running (non-finite loss, full disk). Its text is one line, as above.

    `is_resumable` is true if the same command continues with what was done before.
    """

    exit_status = 1
    is_resumable = False


class UnusableFile(OSError, InputError):
    """A file that must not be read: not a regular one, too large, sparse, damaged or hostile.

    An `OSError`, so that one bad image counts as unreadable, and an `InputError` where nothing
    catches it.
    """

    def __init__(self, path: str, problem: str):
        super().__init__(errno.EINVAL, problem, path)

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def visible(text: str, kept: str = "") -> str:
    r"""The text with its control and other invisible characters as escapes, such as \x1b.

    A byte that is not UTF-8, which Python has as a lone surrogate, becomes an escape, too: any
    output can encode the text, and no terminal obeys it.

    Args:
        kept: characters that are not replaced.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else _escape(c) for c in text)


def visible_name(text: str) -> str:
    """The `visible` text, in which spaces at its start and end are escapes, too."""
    return _without_outer_spaces(visible(text))


def escape(text: str) -> str:
    """The text in ASCII with escapes, without spaces at its start and end; see `unescape`."""
    return _without_outer_spaces(text.encode("unicode_escape").decode())


def unescape(text: str) -> str:
    """The text of which `escape` makes this one; raises ValueError if there is none."""
    return text.encode("ascii").decode("unicode_escape")


def _without_outer_spaces(text: str) -> str:
    inner = text.lstrip(" ")
    start, end = len(text) - len(inner), len(inner) - len(inner.rstrip(" "))
    return r"\x20" * start + inner.rstrip(" ") + r"\x20" * end


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode()


def named_apart(names: Iterable[str]) -> dict[str, str]:
    """Each name as `visible_name`; names that would look the same are in ASCII, with escapes.

    So are composed and decomposed accents, which a viewer or another file system takes as equal.
    """
    shown = {name: visible_name(name) for name in names}

    def looks() -> collections.Counter:
        return collections.Counter(unicodedata.normalize("NFC", text) for text in shown.values())

    counts = looks()
    if len(counts) < len(shown):
        for name, text in shown.items():
            if counts[unicodedata.normalize("NFC", text)] > 1:
                shown[name] = escape(name)
    if len(looks()) < len(shown):  # an escape is the name of another file
        shown = {name: escape(name) for name in shown}
    return shown


def safe_names(names: Sequence[str]) -> list[str]:
    """Names for copies of files, all different, that any file system can hold in one folder.

    A name is kept if it is safe. Otherwise it is cut to 200 bytes of UTF-8, which leaves room for
    a suffix, or numbered; characters that a system could act on become an underscore.
    """
    safe: dict[str, str] = {}  # by what file systems take as equal
    for name in names:
        visible_name = "".join(c if c.isprintable() and c not in _ACTIVE else "_" for c in name)
        stem, extension = os.path.splitext(unicodedata.normalize("NFC", visible_name).lstrip("."))
        for number in itertools.count(1):
            end = (f"-{number}" if number > 1 else "") + _cut(extension, 20)
            candidate = _cut(stem, 200 - len(end.encode())) + end
            if candidate.casefold() not in safe:
                break
        safe[candidate.casefold()] = candidate
    return list(safe.values())


def _cut(text: str, num_bytes: int) -> str:
    return text.encode()[:num_bytes].decode(errors="ignore")


def one_line(text: str) -> str:
    """The visible text in at most 200 characters: the cause is at its start or at its end."""
    text = visible(" ".join(text.split()))
    return text if len(text) <= 200 else f"{text[:97]}...{text[-100:]}"


def reason(error: BaseException) -> str:
    """The message of another library's error in one line, or the name of its class."""
    return one_line(getattr(error, "strerror", None) or str(error)) or type(error).__name__


def innermost(error: BaseException) -> BaseException:
    """The exception at the end of the chain of causes."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error
