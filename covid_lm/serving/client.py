"""Classes for image files, from a model server: TF Serving, or what speaks as it does."""

import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from covid_lm.errors import InputError, RunError
from covid_lm.serving.model_client import ModelClient, RequestFailed, ServerUnavailable, Signature
from covid_lm.serving.predict import (
    Batch,
    Prediction,
    batch_predictions,
    in_batches,
    signature_inputs,
)

# The host is a name, an IPv4 address or an IPv6 address in brackets.
SERVER = re.compile(
    r"(?:(?P<scheme>https?)://)?(?:\[[0-9A-Fa-f:.]+\]|[^\s/:@?#\[\]]+):(?P<port>\d{1,5})/?"
)

# A request holds no more image bytes than this, unless a single image does.
BATCH_BYTES = 32 * 2**20

ATTEMPTS = 5
FIRST_PAUSE = 0.25  # seconds; doubles from attempt to attempt
LONGEST_PAUSE = 4.0  # seconds

NEEDED_INPUTS = {"image_bytes"}
POSSIBLE_INPUTS = {"image_bytes", "filename"}
NEEDED_OUTPUTS = {"probabilities", "label", "valid"}

Answer = TypeVar("Answer")


def predict_on_server(
    server: str,
    files: Iterable[str],
    model_name: str,
    batch_size: int = 32,
    timeout: float = 30.0,
    batch_bytes: int = BATCH_BYTES,
) -> Iterator[Prediction]:
    """Predicts file by file, in order, as `predict_files` does with an export on disk.

    The server is asked at once whether it has the model and whether that one reads file names; the
    files are read and sent while the answers are taken. A request that is refused, or not answered
    in time, gives each of its files an error; the files after them are asked about all the same.
    An unavailable server is tried again, ATTEMPTS times in all.

    Args:
        server: HOST:PORT for gRPC, http://HOST:PORT or https://HOST:PORT for REST.
        model_name: as the server knows it.
        batch_size: files in a request, at most.
        timeout: seconds that a request may take.
        batch_bytes: bytes of images in a request, at most; a larger image goes alone.

    Raises:
        InputError: `server` is malformed, or gRPC's stubs are not installed.
        RunError: the server is not there or goes away, or has no such model, or one that is no
            export of this package.
    """
    client = _client(server, model_name, timeout)
    signature = _usable_signature(client, server, model_name)

    def answer(batch: Batch) -> Iterator[Prediction]:
        inputs = signature_inputs(batch, signature.inputs)
        try:
            answers = _with_retries(server, lambda: client.predict(inputs))
        except RequestFailed as error:
            reason = str(error)
            return (Prediction(path, error=reason) for path, _ in batch)
        return batch_predictions(batch, *answers)

    return in_batches(files, answer, batch_size, batch_bytes)


def _client(server: str, model_name: str, timeout: float) -> ModelClient:
    match = SERVER.fullmatch(server)
    if not match or not 0 < int(match["port"]) < 2**16:
        raise InputError(
            f"--server={server}: give HOST:PORT for gRPC or http://HOST:PORT for REST, "
            "and nothing after it"
        )
    address = server.rstrip("/")
    if match["scheme"]:
        from covid_lm.serving.rest_client import RestClient

        return RestClient(address, model_name, timeout)
    from covid_lm.serving.grpc_client import GrpcClient

    return GrpcClient(address, model_name, timeout)


def _usable_signature(client: ModelClient, server: str, model_name: str) -> Signature:
    try:
        signature = _with_retries(server, client.signature)
    except RequestFailed as error:
        raise RunError(f"--server={server} --model_name={model_name}: {error}") from None
    usable = NEEDED_INPUTS <= signature.inputs <= POSSIBLE_INPUTS
    if not usable or not signature.outputs >= NEEDED_OUTPUTS:
        raise RunError(
            f"--server={server} --model_name={model_name}: no model of covid_lm, it takes "
            f"{', '.join(sorted(signature.inputs)) or 'nothing'}"
        )
    return signature


def _with_retries(server: str, call: Callable[[], Answer]) -> Answer:
    for attempt in range(ATTEMPTS):
        try:
            return call()
        except ServerUnavailable as error:
            reason = str(error)
        if attempt < ATTEMPTS - 1:
            # Jitter, so that clients which failed together don't come back together.
            pause = min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
            time.sleep(pause * random.uniform(0.5, 1))
    raise RunError(f"--server={server}: unavailable, tried {ATTEMPTS} times ({reason})")
