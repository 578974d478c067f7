"""A model server for tests: an export behind TF Serving's gRPC and REST interfaces."""

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    model_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.serving import rest_json
from tests.serving.rest_json import StatusError

HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}
PREDICTION = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:(classify|regress|predict)", re.I
)
STATUS = re.compile(r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?(/metadata)?", re.I)


class ServedModel:
    """One version of one model.

    Attributes:
        before_predict: called with each request's number, from 0, before it is answered; what it
            raises is the answer.
        batch_sizes: images in each predict request so far.
    """

    def __init__(self, name: str, version: int, path: str, labels: tuple[str, ...] = ()):
        self.name, self.version, self.labels = name, version, labels
        self.model = tf.saved_model.load(path)
        with open(f"{path}/saved_model.pb", "rb") as file:
            saved_model = saved_model_pb2.SavedModel.FromString(file.read())
        self.signature_def = saved_model.meta_graphs[0].signature_def
        self.before_predict: Callable[[int], None] = lambda number: None
        self.batch_sizes: list[int] = []

    def check(self, name: str, version: int | None = None, label: str | None = None) -> None:
        if name != self.name or version not in (None, self.version):
            wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
            message = f"Servable not found for request: {wanted}"
            raise StatusError(message, grpc.StatusCode.NOT_FOUND)
        if label and label not in self.labels:
            raise StatusError(f"Unrecognized servable version label: {label}")

    def signature(self, name: str):
        name = name or "serving_default"
        if name not in self.signature_def:
            raise StatusError(f'Serving signature name: "{name}" not found in signature def')
        return self.signature_def[name]

    def input_dtypes(self, signature_name: str) -> dict[str, tf.DType]:
        inputs = self.signature(signature_name).inputs
        return {name: tf.as_dtype(inputs[name].dtype) for name in sorted(inputs)}

    def run(self, signature_name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        expected = self.signature(signature_name).inputs
        if inputs.keys() != set(expected):
            raise StatusError(f"input keys are {sorted(inputs)}, expected {sorted(expected)}")
        function = self.model.signatures[signature_name or "serving_default"]
        tensors = {
            name: tf.constant(value, tf.as_dtype(expected[name].dtype))
            for name, value in inputs.items()
        }
        try:
            return {name: value.numpy() for name, value in function(**tensors).items()}
        except (tf.errors.OpError, TypeError, ValueError) as error:
            raise StatusError(str(error)) from None

    def predict(self, signature_name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        number = len(self.batch_sizes)
        self.batch_sizes.append(len(next(iter(inputs.values()), ())))
        self.before_predict(number)
        return self.run(signature_name, inputs)

    def classify(
        self, signature_name: str, examples: list[bytes]
    ) -> classification_pb2.ClassificationResult:
        if not examples:
            raise StatusError("Input is empty")
        if set(self.signature(signature_name).inputs) != {"inputs"}:
            message = "No classification inputs found in SignatureDef"
            raise StatusError(message, grpc.StatusCode.FAILED_PRECONDITION)
        outputs = self.run(signature_name, {"inputs": np.array(examples, object)})
        result = classification_pb2.ClassificationResult()
        for labels, scores in zip(outputs["classes"], outputs["scores"], strict=True):
            row = result.classifications.add()
            for label, score in zip(labels, scores, strict=True):
                row.classes.add(label=label, score=score)
        return result

    def metadata(self) -> get_model_metadata_pb2.SignatureDefMap:
        return get_model_metadata_pb2.SignatureDefMap(signature_def=self.signature_def)

    def spec(self, signature_name: str = "") -> model_pb2.ModelSpec:
        spec = model_pb2.ModelSpec(name=self.name, signature_name=signature_name)
        spec.version.value = self.version
        return spec


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """The gRPC interface."""

    def __init__(self, model: ServedModel):
        self._model = model

    def Predict(self, request, context):
        with self._status(request, context):
            inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
            name = request.model_spec.signature_name
            response = predict_pb2.PredictResponse(model_spec=self._model.spec(name))
            for key, value in self._model.predict(name, inputs).items():
                response.outputs[key].CopyFrom(tf.make_tensor_proto(value))
            return response

    def Classify(self, request, context):
        with self._status(request, context):
            examples = [e.SerializeToString() for e in request.input.example_list.examples]
            name = request.model_spec.signature_name
            return classification_pb2.ClassificationResponse(
                result=self._model.classify(name, examples), model_spec=self._model.spec(name)
            )

    def GetModelMetadata(self, request, context):
        with self._status(request, context):
            if list(request.metadata_field) != ["signature_def"]:
                raise StatusError("Metadata field is not supported")
            response = get_model_metadata_pb2.GetModelMetadataResponse()
            response.model_spec.CopyFrom(self._model.spec())
            response.metadata["signature_def"].Pack(self._model.metadata())
            return response

    @contextlib.contextmanager
    def _status(self, request, context) -> Iterator[None]:
        spec = request.model_spec
        try:
            version = spec.version.value if spec.HasField("version") else None
            self._model.check(spec.name, version, spec.version_label)
            yield
        except StatusError as error:
            context.abort(error.code, str(error))


class RestHandler(BaseHTTPRequestHandler):
    """The REST interface."""

    protocol_version = "HTTP/1.1"
    model: ServedModel

    def log_message(self, *arguments) -> None:
        pass

    def do_POST(self) -> None:
        self._respond(self._predict_or_classify)

    def do_GET(self) -> None:
        self._respond(self._status_or_metadata)

    def _predict_or_classify(self) -> dict:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        method = self._match(PREDICTION)[4].lower()
        document = rest_json.parse_body(body)
        signature_name = document.get("signature_name", "")
        if method == "classify":
            examples = rest_json.classify_examples(document)
            return rest_json.classify_answer(self.model.classify(signature_name, examples))
        dtypes = self.model.input_dtypes(signature_name)
        inputs, row_format = rest_json.predict_inputs(document, dtypes)
        outputs = self.model.predict(signature_name, inputs)
        return rest_json.predict_answer(outputs, row_format)

    def _status_or_metadata(self) -> dict:
        if not self._match(STATUS)[4]:
            status = {"error_code": "OK", "error_message": ""}
            version = {"version": str(self.model.version), "state": "AVAILABLE", "status": status}
            return {"model_version_status": [version]}
        spec, metadata = (
            json_format.MessageToDict(message, preserving_proto_field_name=True)
            for message in (self.model.spec(), self.model.metadata())
        )
        return {"model_spec": spec, "metadata": {"signature_def": metadata}}

    def _match(self, pattern: re.Pattern) -> re.Match:
        match = pattern.fullmatch(self.path)
        if not match:
            raise StatusError(f"Malformed request: {self.command} {self.path}")
        self.model.check(match[1], match[2] and int(match[2]), match[3])
        return match

    def _respond(self, answer: Callable[[], dict]) -> None:
        try:
            status, document = HTTPStatus.OK, answer()
        except StatusError as error:
            status, document = HTTP_STATUS[error.code], {"error": str(error)}
        body = json.dumps(document, indent=4).encode()
        # A client whose deadline has passed is gone.
        with contextlib.suppress(ConnectionError):
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)


@contextlib.contextmanager
def serve(model: ServedModel) -> Iterator[tuple[str, str]]:
    """Serves on free ports of 127.0.0.1; yields HOST:PORT of gRPC and http://HOST:PORT of REST."""
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    grpc_server = grpc.server(futures.ThreadPoolExecutor(4), options=unlimited)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(model), grpc_server
    )
    grpc_port = grpc_server.add_insecure_port("127.0.0.1:0")
    grpc_server.start()
    handler = type("Handler", (RestHandler,), {"model": model})
    rest_server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=rest_server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{grpc_port}", f"http://127.0.0.1:{rest_server.server_port}"
    finally:
        rest_server.shutdown()
        rest_server.server_close()
        thread.join()
        grpc_server.stop(grace=None).wait()
