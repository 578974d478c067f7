"""Client for a model server's gRPC interface, with the official stubs."""

import json
from typing import Any

from covid_lm.errors import InputError
from covid_lm.serving import model_client
from covid_lm.serving.model_client import (
    SIGNATURE,
    Answers,
    ModelClient,
    RequestFailed,
    Signature,
    first_line,
    no_answer_within,
    unavailable,
)

CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Requests larger than this buffer are never repeated; gRPC's default is 256 KiB.
    ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),
    # A channel that failed to connect rejects all calls until its own pause is over, which has to
    # be shorter than the pauses between attempts.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)


class GrpcClient(ModelClient):
    """Client for TF Serving's `PredictionService`.

    Args:
        address: HOST:PORT.
        model_name: as configured on the server.
        timeout: seconds that a request may take, retries included.

    Raises:
        InputError: tensorflow-serving-api is not installed.
    """

    def __init__(self, address: str, model_name: str, timeout: float):
        try:
            import grpc
            from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub
        except ImportError as error:
            raise InputError(
                f"--server=HOST:PORT needs tensorflow-serving-api ({first_line(str(error))}): "
                "pip install tensorflow-serving-api, or use REST, --server=http://HOST:PORT"
            ) from None
        options = (*CHANNEL_OPTIONS, ("grpc.service_config", json.dumps(_service_config())))
        self._service = PredictionServiceStub(grpc.insecure_channel(address, options))
        self._address = address
        self._model_name = model_name
        self._timeout = timeout

    def signature(self) -> Signature:
        """As `ModelClient.signature`, over gRPC."""
        from tensorflow_serving.apis import get_model_metadata_pb2

        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self._model_name
        response = self._call(self._service.GetModelMetadata, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        signature = signatures.signature_def[SIGNATURE]
        return Signature(frozenset(signature.inputs), frozenset(signature.outputs))

    def predict(self, inputs: dict[str, list[bytes]]) -> Answers:
        """As `ModelClient.predict`, over gRPC."""
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._model_name
        request.model_spec.signature_name = SIGNATURE
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values, tf.string))
        outputs = self._call(self._service.Predict, request).outputs
        probabilities, labels, valid = (
            tf.make_ndarray(outputs[name]).tolist() for name in ("probabilities", "label", "valid")
        )
        return Answers(probabilities, [label.decode() for label in labels], valid)

    def _call(self, method: Any, request: Any) -> Any:
        import grpc

        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            details = first_line(error.details() or "no reason given")
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                raise unavailable(self._address, details) from None
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise no_answer_within(self._timeout) from None
            raise RequestFailed(f"the server reports {error.code().name}: {details}") from None


def _service_config() -> dict:
    """gRPC's own retries, https://grpc.io/docs/guides/retry."""
    policy = {
        "maxAttempts": model_client.ATTEMPTS,
        "initialBackoff": f"{model_client.FIRST_PAUSE}s",
        "maxBackoff": f"{model_client.LONGEST_PAUSE}s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    service = {"service": "tensorflow.serving.PredictionService"}
    return {"methodConfig": [{"name": [service], "retryPolicy": policy}]}
