"""Predictions for image files from a model server: TF Serving, or one with the same interface."""

import re
from collections.abc import Iterable, Iterator

from covid_lm.errors import InputError, RunError
from covid_lm.serving.model_client import ModelClient, RequestFailed, Signature
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

NEEDED_INPUTS = {"image_bytes"}
POSSIBLE_INPUTS = {"image_bytes", "filename"}
NEEDED_OUTPUTS = {"probabilities", "label", "valid"}


def predict_on_server(
    server: str,
    files: Iterable[str],
    model_name: str,
    batch_size: int = 32,
    timeout: float = 30.0,
    batch_bytes: int = BATCH_BYTES,
) -> Iterator[Prediction]:
    """Predicts file by file, in order, as `predict_files` does with an export on disk.

    The model's signature is requested at once; the files are read and sent while the predictions
    are consumed. A request that is refused or not answered in time gives each of its files an
    error, and the next request follows. Requests to an unavailable server are retried
    (`ModelClient`).

    Args:
        server: HOST:PORT for gRPC, http://HOST:PORT or https://HOST:PORT for REST.
        model_name: as configured on the server.
        batch_size: largest number of files in a request.
        timeout: seconds that a request may take, retries included.
        batch_bytes: largest number of image bytes in a request; a larger image is sent alone.

    Raises:
        InputError: `server` is malformed, or gRPC's stubs are not installed.
        RunError: the server is unavailable, has no such model, or one that covid_lm did not export.
    """
    client = _client(server, model_name, timeout)
    signature = _usable_signature(client, server, model_name)

    def answer(batch: Batch) -> Iterator[Prediction]:
        try:
            answers = client.predict(signature_inputs(batch, signature.inputs))
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
        signature = client.signature()
    except RequestFailed as error:
        raise RunError(f"--server={server} --model_name={model_name}: {error}") from None
    usable = NEEDED_INPUTS <= signature.inputs <= POSSIBLE_INPUTS
    if not usable or not signature.outputs >= NEEDED_OUTPUTS:
        raise RunError(
            f"--server={server} --model_name={model_name}: not an export of covid_lm, its inputs "
            f"are {', '.join(sorted(signature.inputs)) or 'none'}"
        )
    return signature
