"""Interface, errors and retry policy that the gRPC and the REST client share."""

import abc
from typing import NamedTuple

from covid_lm.errors import RunError

SIGNATURE = "serving_default"

# A request may be repeated, since a prediction changes nothing on the server. gRPC allows no more
# than 5 attempts.
ATTEMPTS = 5
FIRST_PAUSE = 0.25  # seconds; doubles from attempt to attempt
LONGEST_PAUSE = 4.0  # seconds


class RequestFailed(Exception):
    """A request that the server refused, or did not answer in time. The message is one line."""


class Signature(NamedTuple):
    """Names of a signature's inputs and outputs."""

    inputs: frozenset[str]
    outputs: frozenset[str]


class Answers(NamedTuple):
    """Outputs of `serving_default` for n images."""

    probabilities: list[list[float]]  # [n, classes], float32 values
    labels: list[str]  # [n], empty where not valid
    valid: list[bool]  # [n]


class ModelClient(abc.ABC):
    """One model on one server.

    Both methods repeat a request while the server is unavailable, ATTEMPTS times at most and only
    before the deadline, which holds for all attempts together.
    """

    @abc.abstractmethod
    def signature(self) -> Signature:
        """Requests the names in `serving_default`.

        Raises:
            RequestFailed: refused, or not answered before the deadline.
            RunError: the server is unavailable.
        """

    @abc.abstractmethod
    def predict(self, inputs: dict[str, list[bytes]]) -> Answers:
        """Requests the answers to n images; every input has n values.

        Raises:
            RequestFailed, RunError: as `signature`.
        """


def unavailable(server: str, reason: str) -> RunError:
    """The error for a server that is unavailable, even after retries."""
    return RunError(f"--server={server}: unavailable, despite retries ({first_line(reason)})")


def no_answer_within(seconds: float) -> RequestFailed:
    """The error for a request whose deadline has passed."""
    return RequestFailed(f"no answer from the server within {seconds:g} s")


def first_line(text: str, length: int = 200) -> str:
    """The text in one short line: TF Serving's messages may quote the whole request."""
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 3]}..."
