"""Reading of pickles of arrays, bytes, dicts and lists, without executing any code."""

import io
import pickle
import pickletools
import re
from typing import Any

import numpy as np

from covid_lm.errors import InputError

_PLAIN_NUMBERS = re.compile(r"[biuf][1248]")


def load_pickle(data: bytes, path: str) -> dict[str, Any]:
    """Reads a pickled dict with arrays, of Python 2 or 3.

    No object named in the pickle is looked up or called. The names that NumPy writes for an array
    map to classes of this module, which only hold data; all other names are rejected.

    Returns:
        The dict, with decoded keys. Values are numeric arrays, lists, dicts, bytes, text, integers
        or None; callers check the content of lists and dicts.

    Raises:
        InputError: not a pickle, an unknown name, or a value or dtype of another type; the message
            begins with `path`.
    """
    try:
        for opcode, argument, _ in pickletools.genops(data):
            # The unpickler allocates this many entries; six bytes can request 2**32.
            if opcode.name in ("PUT", "LONG_BINPUT") and int(argument or 0) > len(data):
                raise pickle.UnpicklingError(f"memo entry {argument}")
        content = _Unpickler(data, path).load()
        if not isinstance(content, dict):
            raise pickle.UnpicklingError(f"a {type(content).__name__}")
        return {_text(key): _value(value) for key, value in content.items()}
    except InputError:
        raise
    except Exception as error:  # other bytes can raise almost any exception
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: not a pickled dict of arrays, bytes and lists ({reason}); fetch it again"
        ) from None


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, path: str) -> None:
        super().__init__(io.BytesIO(data), encoding="bytes")
        self._path = path

    def find_class(self, module: str, name: str) -> type:
        if (module, name) not in _STAND_INS:
            raise InputError(
                f"{self._path}: refused, because its pickle asks for {f'{module}.{name}'!r}; only "
                "arrays, bytes, dicts and lists are read"
            )
        return _STAND_INS[module, name]


# Each defines __setstate__, so that a pickle can't set attributes of the class.


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
    """Bytes that Python 3 wrote in an old protocol, as text and a call that encodes it."""

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
