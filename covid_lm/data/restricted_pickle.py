"""Pickles of arrays, bytes, dicts and lists, read without running anything that they name."""

import io
import pickle
import pickletools
import re
from typing import Any

import numpy as np

from covid_lm.errors import InputError

_PLAIN_NUMBERS = re.compile(r"[biuf][1248]")


def load_pickle(data: bytes, path: str) -> dict[str, Any]:
    """Reads a pickled dict, of Python 2 or 3, with its arrays as they were.

    No object that a pickle names is ever called or looked up: the four names that NumPy writes for
    an array stand for classes of this module that only hold data, and any other name is refused.

    Args:
        data: the pickle's bytes.
        path: where they are from, for messages.

    Returns:
        The dict, its keys decoded. Values are numeric arrays, lists, dicts, bytes, text, whole
        numbers or None; what lists and dicts hold is left to the caller to check.

    Raises:
        InputError: a name other than an array's, a dtype other than plain numbers, a value of
            another type, or no pickle.
    """
    try:
        for opcode, argument, _ in pickletools.genops(data):
            # The unpickler allocates this many entries, though six bytes can ask for 2**32.
            writes = opcode.name in ("PUT", "LONG_BINPUT")
            if writes and isinstance(argument, int) and argument > len(data):
                raise pickle.UnpicklingError(f"memo entry {argument}")
        content = _Unpickler(data, path).load()
        if not isinstance(content, dict):
            raise pickle.UnpicklingError(f"a {type(content).__name__}")
        return {_text(key): _value(value) for key, value in content.items()}
    except InputError:
        raise
    except Exception as error:  # bytes that are no pickle can raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: not a pickled dict of arrays, bytes and lists ({reason}); fetch it again"
        ) from None


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, path: str) -> None:
        super().__init__(io.BytesIO(data), encoding="bytes")
        self._path = path

    def find_class(self, module: str, name: str) -> type:
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise InputError(
                f"{self._path}: refused, because its pickle asks for {f'{module}.{name}'!r}; only "
                "arrays, bytes, dicts and lists are read"
            ) from None


# Each has __setstate__, so that a pickle can't set attributes of the class itself.


class _Array:
    def __init__(self, *arguments: Any) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        array = np.frombuffer(data, dtype.value)
        self.value = array.reshape(shape, order="F" if is_fortran else "C")


class _Dtype:
    def __init__(self, code: bytes | str, *flags: Any) -> None:
        self._code = _text(code)
        if not _PLAIN_NUMBERS.fullmatch(self._code):
            raise pickle.UnpicklingError(f"an array of dtype {self._code!r}")
        self.value = np.dtype(self._code)

    def __setstate__(self, state: tuple) -> None:
        self.value = np.dtype(_text(state[1]).replace("|", "") + self._code)


class _Encoded:
    """Python 3 writes bytes into old protocols as text and the call that encodes it."""

    def __new__(cls, text: str, encoding: str) -> Any:
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"bytes as {encoding!r}")
        return text.encode("latin1")

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("bytes with a state")


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Encoded,
}


def _text(value: bytes | str) -> str:
    if isinstance(value, bytes):
        return value.decode("ascii")
    if isinstance(value, str):
        return value
    raise pickle.UnpicklingError(f"a {type(value).__name__} in place of text")


def _value(value: Any) -> Any:
    if isinstance(value, _Array) and value.value is not None:
        return value.value
    if value is None or type(value) in (list, dict, bytes, str, int):
        return value
    raise pickle.UnpicklingError(f"a {type(value).__name__.lstrip('_')}")
