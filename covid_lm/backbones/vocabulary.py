"""Vocabularies: that of a pretrained BERT, or the built-in one for random weights."""

import io
import os
import string
from collections.abc import Sequence

from covid_lm.errors import InputError
from covid_lm.files import CONFIG_BYTES, read_bytes, write_text

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def built_in_vocabulary() -> tuple[str, ...]:
    """Returns the 311 words that images and names can produce, for models with random weights.

    Special tokens, "0" to "255" and lower-case printable ASCII characters.
    """
    values = [str(value) for value in range(256)]
    characters = [c for c in string.printable.strip() if c == c.lower() and c not in values]
    return (*SPECIAL_TOKENS, *values, *characters)


def read_vocabulary(path: str | os.PathLike) -> tuple[str, ...]:
    """Reads `vocab.txt`, one word a line; a word's line number, from 0, is its id.

    Raises:
        InputError: no such file, not UTF-8, or without a special token.
    """
    try:
        text = read_bytes(os.fspath(path), CONFIG_BYTES).decode("utf-8")
        # Not splitlines(), which would split at words such as U+2028.
        words = tuple(line.rstrip("\r\n") for line in io.StringIO(text, newline="\n"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such vocabulary file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a UTF-8 vocabulary; give BERT's vocab.txt") from None
    missing = [token for token in SPECIAL_TOKENS if token not in words]
    if missing:
        raise InputError(f"{path}: no {', '.join(missing)} in it; give BERT's vocab.txt")
    return words


def write_vocabulary(vocabulary: Sequence[str], path: str | os.PathLike) -> None:
    """Writes one word a line, as `read_vocabulary` reads it."""
    write_text(os.fspath(path), "".join(f"{word}\n" for word in vocabulary))
