"""Client for a model server's gRPC interface. Needs tensorflow-serving-api, the official stubs."""

import json
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2, predict_pb2
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from covid_lm.serving import model_client
from covid_lm.serving.model_client import SIGNATURE, ModelClient
from covid_lm.serving.predict import Outputs, decoded


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
            ("grpc.max_receive_message_length", -1),
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
        response.metadata["signature_def"].Unpack(signatures)
        signature = signatures.signature_def[SIGNATURE]
        return set(signature.inputs), set(signature.outputs)

    def predict(self, inputs: dict[str, list[bytes]]) -> Outputs:
        """As `ModelClient.predict`, over gRPC."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._model_name
        request.model_spec.signature_name = SIGNATURE
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values, tf.string))
        tensors = self._call(self._service.Predict, request).outputs
        return decoded({name: tf.make_ndarray(tensors[name]) for name in tensors})

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise self._error(error.code().name, error.details() or "no reason given") from None
