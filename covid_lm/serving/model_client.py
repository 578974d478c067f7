"""What the gRPC and the REST client of a model server have in common."""

import abc
from typing import NamedTuple

SIGNATURE = "serving_default"


class ServerUnavailable(Exception):
    """Nothing answers at the address, or a server that says UNAVAILABLE. Worth another try."""


class RequestFailed(Exception):
    """This request was refused, or not answered in time. Its text is one line."""


class Signature(NamedTuple):
    """The names that a signature takes and gives."""

    inputs: frozenset[str]
    outputs: frozenset[str]


class Answers(NamedTuple):
    """What `serving_default` says of n images."""

    probabilities: list[list[float]]  # [n, classes], float32 values
    labels: list[str]  # [n], empty where not valid
    valid: list[bool]  # [n]


class ModelClient(abc.ABC):
    """One model on one server.

    Both methods raise ServerUnavailable or RequestFailed, and nothing else that a server or a
    network can cause.
    """

    @abc.abstractmethod
    def signature(self) -> Signature:
        """Asks for the names in `serving_default`."""

    @abc.abstractmethod
    def predict(self, inputs: dict[str, list[bytes]]) -> Answers:
        """Asks for the answers to n images; every input has n values."""


def no_answer_within(seconds: float) -> RequestFailed:
    """The failure of a request whose deadline has passed."""
    return RequestFailed(f"no answer from the server within {seconds:g} s")


def first_line(text: str, length: int = 200) -> str:
    """A server's message in one line of bearable length: TF Serving likes to quote the request."""
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 3]}..."
