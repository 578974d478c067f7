"""Predictions for image files from a model server: TF Serving, or one with the same interface."""

import re
from collections.abc import Iterable, Iterator

from covid_lm.data.windows import Window
from covid_lm.errors import InputError, RunError, one_line, reason
from covid_lm.serving.model_client import ModelClient, RequestFailed
from covid_lm.serving.predict import (
    OUTPUTS,
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


def predict_on_server(
    server: str,
    files: Iterable[str],
    model_name: str,
    batch_size: int = 32,
    timeout: float = 30.0,
    window: Window | None = None,
) -> Iterator[Prediction]:
    """Predicts file by file, in order, as `predict_files` does with an export on disk.

    The model's signature is requested at once; the files are read and sent while the predictions
    are consumed. A request that is refused or not answered in time gives its own files an error.

    Args:
        server: HOST:PORT for gRPC, http://HOST:PORT or https://HOST:PORT for REST.
        model_name: as configured on the server.
        batch_size: largest number of files in a request.
        timeout: seconds that a request may take, retries and the whole answer included.
        window: of DICOM and 16-bit gray images, which are converted before they are sent.

    Raises:
        InputError: `server` is malformed, or gRPC's stubs are not installed.
        RunError: the server is unavailable, has no such model, or one that covid_lm did not export.
    """
    client = _client(server, model_name, timeout)
    inputs = _checked_inputs(client, server, model_name)

    def answer(batch: Batch) -> Iterable[Prediction]:
        try:
            outputs = client.predict(signature_inputs(batch, inputs))
        except RequestFailed as error:
            return [Prediction(path, error=str(error)) for path, _ in batch]
        return batch_predictions(batch, outputs)

    return in_batches(files, answer, batch_size, window)


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
    try:
        from covid_lm.serving.grpc_client import GrpcClient
    except ImportError as error:
        raise InputError(
            f"--server=HOST:PORT needs tensorflow-serving-api ({reason(error)}): "
            "pip install tensorflow-serving-api, or use REST, --server=http://HOST:PORT"
        ) from None
    return GrpcClient(address, model_name, timeout)


def _checked_inputs(client: ModelClient, server: str, model_name: str) -> set[str]:
    """The names of the model's inputs, if it is an export of this package."""
    try:
        inputs, outputs = client.signature()
        if inputs - {"filename"} != {"image_bytes"} or not outputs.issuperset(OUTPUTS):
            found = one_line(", ".join(sorted(inputs))) or "none"
            raise RequestFailed(f"not an export of covid_lm, its inputs are {found}")
    except RequestFailed as error:
        raise RunError(f"--server={server} --model_name={model_name}: {error}") from None
    return inputs
