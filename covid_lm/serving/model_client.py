"""Interface, errors and retry policy that the gRPC and the REST client share."""

import abc

from covid_lm.errors import RunError, one_line
from covid_lm.serving.predict import Outputs

SIGNATURE = "serving_default"

# A request may be repeated, since a prediction changes nothing on the server. gRPC allows no more
# than 5 attempts.
ATTEMPTS = 5
FIRST_PAUSE = 0.25  # seconds; doubles from attempt to attempt
LONGEST_PAUSE = 4.0  # seconds


class RequestFailed(Exception):
    """A request that the server refused, or did not answer in time. The message is one line."""


class ModelClient(abc.ABC):
    """One model on one server.

    A request is repeated while the server is unavailable, at most ATTEMPTS times and only before
    the deadline, which all attempts share. Both methods raise RequestFailed if the server refuses
    the request or the deadline passes, and RunError if the server stays unavailable.

    Args:
        address: HOST:PORT for gRPC, http://HOST:PORT or https://HOST:PORT for REST.
        model_name: as configured on the server.
        timeout: seconds that a request may take, retries included.
    """

    def __init__(self, address: str, model_name: str, timeout: float):
        self._address = address
        self._model_name = model_name
        self._timeout = timeout

    @abc.abstractmethod
    def signature(self) -> tuple[set[str], set[str]]:
        """Requests the names of the inputs and of the outputs of `serving_default`."""

    @abc.abstractmethod
    def predict(self, inputs: dict[str, list[bytes]]) -> Outputs:
        """Requests the outputs for n images; every input has n values."""

    def _error(self, status: str, reason: str) -> Exception:
        """The error for a request that ended with a status: gRPC's name of it, or HTTP and code."""
        if status == "UNAVAILABLE":
            place = f"--server={self._address}"
            return RunError(f"{place}: unavailable, despite retries ({one_line(reason)})")
        if status == "DEADLINE_EXCEEDED":
            return RequestFailed(f"no answer from the server within {self._timeout:g} s")
        return RequestFailed(f"the server reports {status}: {one_line(reason)}")
