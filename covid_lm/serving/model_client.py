"""Interface, errors, limits and retry policy that the gRPC and the REST client share."""

import abc
import array
import math
from typing import Any

from covid_lm.errors import RunError, one_line
from covid_lm.serving.predict import OUTPUTS, REASON, Outputs

SIGNATURE = "serving_default"

# A request may be repeated, since a prediction changes nothing on the server. gRPC allows no more
# than 5 attempts.
ATTEMPTS = 5
FIRST_PAUSE = 0.25  # seconds; doubles from attempt to attempt
LONGEST_PAUSE = 4.0  # seconds

MAX_ANSWER_BYTES = 64 * 2**20
TOO_LARGE = "the server's answer is larger than 64 MiB"
_TYPES = {"label": str, "valid": bool, REASON: str}


class RequestFailed(Exception):
    """A request that the server refused, answered wrongly or not in time, in one line."""


class ModelClient(abc.ABC):
    """One model on one server, which is not trusted.

    A request is repeated while the server is unavailable, at most ATTEMPTS times and only before
    the deadline, which all attempts share. Both methods raise RequestFailed if the server refuses
    the request, answers anything else than what was requested, or the deadline passes, and
    RunError if the server stays unavailable.

    Args:
        address: HOST:PORT for gRPC, http://HOST:PORT or https://HOST:PORT for REST.
        model_name: as configured on the server.
        timeout: seconds that a request may take, retries and the whole answer included.
    """

    def __init__(self, address: str, model_name: str, timeout: float):
        self._address = address
        self._model_name = model_name
        self._timeout = timeout

    @abc.abstractmethod
    def signature(self) -> tuple[set[str], set[str]]:
        """Requests the names of the inputs and of the outputs of `serving_default`."""

    def predict(self, inputs: dict[str, list[bytes]]) -> Outputs:
        """Requests the outputs for n images; every input has n values."""
        rows = len(next(iter(inputs.values())))
        return _checked(self._outputs(inputs, rows), rows)

    @abc.abstractmethod
    def _outputs(self, inputs: dict[str, list[bytes]], rows: int) -> Any:
        """The outputs as the server gives them, by name, for `rows` images."""

    def _error(self, status: str, reason: str) -> Exception:
        """The error for a request that ended with a status: gRPC's name of it, or HTTP and code."""
        if status == "UNAVAILABLE":
            place = f"--server={self._address}"
            return RunError(f"{place}: unavailable, despite retries ({one_line(reason)})")
        if status == "DEADLINE_EXCEEDED":
            return RequestFailed(f"no answer from the server within {self._timeout:g} s")
        return RequestFailed(f"the server reports {status}: {one_line(reason)}")


def _checked(outputs: Any, rows: int) -> Outputs:
    """The outputs that predictions are made of; RequestFailed unless they fit that many images.

    REST's decimals are float32 values: converted, they are equal to those over gRPC.
    """
    names = (*OUTPUTS, REASON) if isinstance(outputs, dict) and REASON in outputs else OUTPUTS
    try:
        columns = {name: outputs[name] for name in names}
    except (KeyError, TypeError):
        raise RequestFailed(f"the server's answer has no {SIGNATURE} outputs") from None
    for name, column in columns.items():
        if not isinstance(column, list) or len(column) != rows:
            raise RequestFailed(f"the server's answer has not one {name} for each image")
        if name in _TYPES and not all(isinstance(value, _TYPES[name]) for value in column):
            raise RequestFailed(f"the server's answer has a {name} of another type")
    try:
        table = [array.array("f", row).tolist() for row in columns["probabilities"]]
    except (TypeError, ValueError, OverflowError):
        table = []
    known = [row for row, valid in zip(table, columns["valid"], strict=False) if valid]
    if (
        not table
        or len({len(row) for row in table}) > 1
        or not all(row and all(map(math.isfinite, row)) for row in known)
    ):
        raise RequestFailed("the server's answer has no number for each probability")
    return columns | {"probabilities": table}
