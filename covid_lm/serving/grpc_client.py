"""A model server's gRPC interface, through the official stubs."""

from typing import Any

from covid_lm.errors import InputError
from covid_lm.serving.model_client import (
    SIGNATURE,
    Answers,
    ModelClient,
    RequestFailed,
    ServerUnavailable,
    Signature,
    first_line,
    no_answer_within,
)

CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A channel that could not connect fails every call until its own pause is over: that pause has
    # to be shorter than those between our attempts.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)


class GrpcClient(ModelClient):
    """Talks to `PredictionService`.

    Args:
        address: HOST:PORT.
        model_name: as the server knows it.
        timeout: seconds that a request may take.

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
        self._service = PredictionServiceStub(grpc.insecure_channel(address, CHANNEL_OPTIONS))
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
            request.inputs[name].dtype = tf.string.as_datatype_enum
            request.inputs[name].tensor_shape.dim.add(size=len(values))
            request.inputs[name].string_val.extend(values)
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
                raise ServerUnavailable(details) from None
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                raise no_answer_within(self._timeout) from None
            raise RequestFailed(f"the server says {error.code().name}: {details}") from None
