"""Model servers that answer a predict request with anything, over REST and gRPC."""

import contextlib
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from concurrent import futures

import grpc
from tensorflow_serving.apis import get_model_metadata_pb2

INPUTS, OUTPUTS = ("image_bytes",), ("probabilities", "label", "valid")
SIGNATURE = {"inputs": {name: {} for name in INPUTS}, "outputs": {name: {} for name in OUTPUTS}}
METADATA = {"metadata": {"signature_def": {"signature_def": {"serving_default": SIGNATURE}}}}
Answer = bytes | Callable[[socket.socket, threading.Event], None]


def http(body: bytes | object, status: str = "200 OK", headers: str = "") -> bytes:
    """A well-formed answer; a body that is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (
        f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(content)}\r\n\r\n".encode() + content
    )


def drip(start: bytes, piece: bytes) -> Answer:
    """Sends `start`, and then a piece every 50 ms for as long as the test takes."""

    def answer(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(start)
        while not ended.wait(0.05):
            connection.sendall(piece)

    return answer


def stall(start: bytes) -> Answer:
    """Sends `start`, and nothing more."""

    def answer(connection: socket.socket, ended: threading.Event) -> None:
        connection.sendall(start)
        ended.wait()

    return answer


@contextlib.contextmanager
def rest_server(answer: Answer, metadata: Answer) -> Iterator[str]:
    """Answers the request for metadata and those for predictions; yields its address."""
    ended = threading.Event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                method = self.rfile.readline().partition(b" ")[0]
                length = 0
                while line := self.rfile.readline().strip():
                    name, _, value = line.partition(b":")
                    length = int(value) if name.lower() == b"content-length" else length
                self.rfile.read(length)
                chosen = answer if method == b"POST" else metadata
                if callable(chosen):
                    chosen(self.connection, ended)
                else:
                    self.connection.sendall(chosen)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            ended.set()
            server.shutdown()


def signature_answer(content: bytes | None = None) -> bytes:
    """A gRPC answer about the signature; `content` in place of the packed message."""
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for names, target in ((INPUTS, "inputs"), (OUTPUTS, "outputs")):
        for name in names:
            getattr(signatures.signature_def["serving_default"], target)[name].name = name
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.metadata["signature_def"].Pack(signatures)
    if content is not None:
        response.metadata["signature_def"].value = content
    return response.SerializeToString()


@contextlib.contextmanager
def grpc_server(predict: Callable[[grpc.ServicerContext], bytes], metadata: bytes) -> Iterator[str]:
    """Answers with the given bytes as messages; yields its address."""
    methods = {
        "Predict": grpc.unary_unary_rpc_method_handler(lambda _, context: predict(context)),
        "GetModelMetadata": grpc.unary_unary_rpc_method_handler(lambda _, context: metadata),
    }
    service = grpc.method_handlers_generic_handler("tensorflow.serving.PredictionService", methods)
    options = [("grpc.max_send_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(2), [service], options=options)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None)
