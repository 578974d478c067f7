"""Client for a model server's gRPC interface. Needs tensorflow-serving-api, the official stubs."""

import json
import math
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from covid_lm.serving import model_client
from covid_lm.serving.model_client import SIGNATURE, TOO_LARGE, ModelClient, RequestFailed
from covid_lm.serving.predict import REASON, Outputs, decoded

# Types and ranks of the outputs of `serving_default`.
_TENSORS = {
    "probabilities": (tf.float32, 2),
    "label": (tf.string, 1),
    "valid": (tf.bool, 1),
    REASON: (tf.string, 1),
}


_RECEIVED = "Received message larger than max"


class GrpcClient(ModelClient):
    """Client for TF Serving's `PredictionService`."""

    def __init__(self, address: str, model_name: str, timeout: float):
        super().__init__(address, model_name, timeout)
        policy = {  # gRPC's own retries, https://grpc.io/docs/guides/retry
            "maxAttempts": model_client.ATTEMPTS,
            "initialBackoff": f"{model_client.FIRST_PAUSE}s",
            "maxBackoff": f"{model_client.LONGEST_PAUSE}s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"],
        }
        config = {"methodConfig": [{"name": [{}], "retryPolicy": policy}]}  # {}: all methods
        options = [
            ("grpc.service_config", json.dumps(config)),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", model_client.MAX_ANSWER_BYTES),
            # Requests larger than this buffer are never repeated; gRPC's default is 256 KiB.
            ("grpc.per_rpc_retry_buffer_size", 2**31 - 1),
            # A channel that failed to connect rejects all calls until its own pause is over, which
            # has to be shorter than the pauses between attempts.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 500),
        ]
        self._service = PredictionServiceStub(grpc.insecure_channel(address, options))

    def signature(self) -> tuple[set[str], set[str]]:
        """As `ModelClient.signature`, over gRPC."""
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        request.model_spec.name = self._model_name
        response = self._call(self._service.GetModelMetadata, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        try:
            response.metadata["signature_def"].Unpack(signatures)
        except DecodeError:
            raise RequestFailed(f"it has no {SIGNATURE} signature") from None
        signature = signatures.signature_def[SIGNATURE]
        return set(signature.inputs), set(signature.outputs)

    def _outputs(self, inputs: dict[str, list[bytes]], rows: int) -> Outputs:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._model_name
        request.model_spec.signature_name = SIGNATURE
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values, tf.string))
        tensors = self._call(self._service.Predict, request).outputs
        return decoded(
            {name: _array(tensors[name], name, rows) for name in _TENSORS & tensors.keys()}
        )

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            details = error.details() or "no reason given"
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and _RECEIVED in details:
                raise RequestFailed(TOO_LARGE) from None
            raise self._error(error.code().name, details) from None


def _array(tensor: Any, name: str, rows: int) -> np.ndarray:
    """A tensor's values; RequestFailed unless it has the type of the output and that many rows.

    A tensor with fewer values than its shape declares repeats the last one, so the shape alone can
    claim any amount of memory.
    """
    dtype, rank = _TENSORS[name]
    shape = [dimension.size for dimension in tensor.tensor_shape.dim]
    fits = len(shape) == rank and shape[0] == rows and min(shape) >= 0
    if tensor.dtype != dtype.as_datatype_enum or not fits:
        raise RequestFailed(f"the server's answer has not one {name} for each image")
    if math.prod(shape) * dtype.size > model_client.MAX_ANSWER_BYTES:
        raise RequestFailed(TOO_LARGE)
    try:
        if dtype == tf.string:
            return np.array(list(tensor.string_val), object).reshape(shape)
        return tf.make_ndarray(tensor)
    except (ValueError, TypeError):
        raise RequestFailed(f"the server's answer has a {name} of another shape") from None
