"""Servers in 50 moods: each file has a row, or the run ends in one line; nothing else happens."""

import gzip
import threading

import grpc
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

from covid_lm.errors import RunError
from covid_lm.serving import model_client
from covid_lm.serving.client import predict_on_server
from covid_lm.serving.predict import Prediction, write_predictions
from tests.serving.hostile_servers import (
    METADATA,
    drip,
    grpc_server,
    http,
    rest_server,
    signature_answer,
    stall,
)

LATE = "no answer from the server within 0.5 s"
NOT_REST = "the server there is no REST model server"
NO_OUTPUTS = "the server's answer has no serving_default outputs"
NO_NUMBER = "the server's answer has no number for each probability"
LARGE = "the server's answer is larger than 64 MiB"
GOOD = {"probabilities": [[0.25, 0.75]] * 2, "label": ["a", "b"], "valid": [True, True]}
HEAD = b"HTTP/1.1 200 OK\r\n"


def each(name: str) -> str:
    return f"the server's answer has not one {name} for each image"


def outputs(**changes) -> bytes:
    return http({"outputs": GOOD | changes})


# For each mood an answer, and the error of both files; None where they have a class.
REST = {
    "as it should be": (outputs(), None),
    "escapes in a label": (outputs(label=["\x1b[31m", "a\nb"]), None),
    "an invalid image without a reason": (outputs(valid=[False] * 2), "can't be decoded"),
    "escapes in a reason": (outputs(valid=[False] * 2, reason=["\x1b[2J\n"] * 2), "\x1b[2J\n"),
    "a reason that is no text": (
        outputs(reason=[1, 2]),
        "the server's answer has a reason of another type",
    ),
    "no body": (http(b""), NOT_REST),
    "a page": (http(b"<html>"), NOT_REST),
    "half of the JSON": (http(b'{"outputs": {"lab'), NOT_REST),
    "not UTF-8": (http(b'{"outputs": "\xff\xfe"}'), NOT_REST),
    "deep JSON": (http(b"[" * 1_000_000), NOT_REST),
    "deep JSON that is complete": (http(b"[" * 900 + b"]" * 900), NO_OUTPUTS),
    "an integer of 5,000 digits": (http(b'{"outputs": ' + b"9" * 5000 + b"}"), NOT_REST),
    "a list": (http([1, 2]), NO_OUTPUTS),
    "null": (http(b"null"), NOT_REST),
    "outputs in a list": (http({"outputs": [GOOD]}), NO_OUTPUTS),
    "an output is missing": (http({"outputs": {"label": ["a", "b"]}}), NO_OUTPUTS),
    "a row too few": (outputs(label=["a"]), each("label")),
    "a row too many": (outputs(valid=[True] * 3), each("valid")),
    "a text for a list": (outputs(label="ab"), each("label")),
    "labels that are numbers": (
        outputs(label=[1, 2]),
        "the server's answer has a label of another type",
    ),
    "valid as text": (
        outputs(valid=["true", "true"]),
        "the server's answer has a valid of another type",
    ),
    "rows of several lengths": (outputs(probabilities=[[0.5, 0.5], [1.0]]), NO_NUMBER),
    "rows without numbers": (outputs(probabilities=[[], []]), NO_NUMBER),
    "texts for numbers": (outputs(probabilities=[["a"], ["b"]]), NO_NUMBER),
    "one number": (outputs(probabilities=[0.5, 0.5]), NO_NUMBER),
    "NaN": (outputs(probabilities=[[float("nan"), 1]] * 2), NO_NUMBER),
    "more than float32 holds": (outputs(probabilities=[[1e39, 1]] * 2), NO_NUMBER),
    "an integer of 400 digits": (outputs(probabilities=[[10**400, 1]] * 2), NO_NUMBER),
    "a length above the body": (
        HEAD + b"Content-Length: 99\r\n\r\n{}",
        "the server's answer is not complete (IncompleteRead(2 bytes read, 97 more expected))",
    ),
    "a length that is no number": (HEAD + b"Content-Length: x\r\n\r\n{}", NO_OUTPUTS),
    "a negative length": (HEAD + b"Content-Length: -9\r\n\r\n{}", NO_OUTPUTS),
    "a wrong size of a chunk": (
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n",
        "the server's answer is not complete (",
    ),
    "a bomb": (http(gzip.compress(bytes(10**7)), headers="Content-Encoding: gzip\r\n"), NOT_REST),
    "more than the limit": (http(b" " * 3_000_000), LARGE),
    "without an end": (drip(HEAD + b"\r\n", b" " * 300_000), LARGE),
    "a body byte by byte": (drip(HEAD + b"Content-Length: 99\r\n\r\n", b"x"), LATE),
    "headers byte by byte": (drip(HEAD + b"X: ", b"x"), LATE),
    "endless interim answers": (drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), LATE),
    "a stall in the headers": (stall(HEAD), LATE),
    "a stall in the body": (stall(HEAD + b"Content-Length: 99\r\n\r\n{"), LATE),
    "another place": (
        http(b"", "302 Found", "Location: http://127.0.0.1:1/\r\n"),
        "the server reports HTTP 302: Found",
    ),
    "an error with escapes": (
        http({"error": "\x1b[31mred\nline"}, "500 X"),
        r"the server reports HTTP 500: \x1b[31mred line",
    ),
    "an error that is no text": (
        http({"error": [[]]}, "400 Bad"),
        "the server reports HTTP 400: Bad",
    ),
}


def message(**changes) -> bytes:
    """An answer over gRPC; a change is a value for `make_tensor_proto`, a proto, or None."""
    response = predict_pb2.PredictResponse()
    for name, value in (GOOD | changes).items():
        if isinstance(value, list):
            dtype = tf.float32 if name == "probabilities" else None
            value = tf.make_tensor_proto(value, dtype)
        if value is not None:
            response.outputs[name].CopyFrom(value)
    return response.SerializeToString()


def tensor(dtype: int, *shape: int, **values) -> object:
    proto = tf.make_tensor_proto([0.0])
    proto.Clear()
    proto.dtype = dtype
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    for field, content in values.items():
        if isinstance(content, bytes):
            setattr(proto, field, content)
        else:
            getattr(proto, field).extend(content)
    return proto


FLOAT, STRING = tf.float32.as_datatype_enum, tf.string.as_datatype_enum
GRPC = {
    "as it should be": (message(), None),
    "a label that is not UTF-8": (message(label=[b"\xe9\x1b", b"b"]), None),
    "no outputs": (b"", NO_OUTPUTS),
    "an output is missing": (message(label=None), NO_OUTPUTS),
    "no message": (b"\xff" * 9, "the server reports INTERNAL: Exception deserializing response!"),
    "a huge shape": (message(probabilities=tensor(FLOAT, 2, 2**40, float_val=[0.5])), LARGE),
    "a shape beyond 64 bits": (
        message(probabilities=tensor(FLOAT, 2, 2**62, float_val=[0.5])),
        LARGE,
    ),
    "a huge number of rows": (
        message(probabilities=tensor(FLOAT, 2**40, 2, float_val=[0.5])),
        each("probabilities"),
    ),
    "a negative size": (message(probabilities=tensor(FLOAT, 2, -1)), each("probabilities")),
    "no shape": (message(probabilities=tensor(FLOAT)), each("probabilities")),
    "a type that does not exist": (message(probabilities=tensor(77, 2, 2)), each("probabilities")),
    "texts for numbers": (message(probabilities=tensor(STRING, 2, 2)), each("probabilities")),
    "content below the shape": (
        message(probabilities=tensor(FLOAT, 2, 2, tensor_content=b"1234")),
        "the server's answer has a probabilities of another shape",
    ),
    "a text too few": (
        message(label=tensor(STRING, 2, string_val=[b"a"])),
        "the server's answer has a label of another shape",
    ),
    "rows without numbers": (message(probabilities=tensor(FLOAT, 2, 0)), NO_NUMBER),
    "NaN": (message(probabilities=[[float("nan")] * 2] * 2), NO_NUMBER),
    "more than the limit": (message(more=["x" * 3_000_000]), LARGE),
}


@pytest.fixture(autouse=True)
def limits(monkeypatch):
    """A smaller limit of an answer, and no long pauses."""
    monkeypatch.setattr(model_client, "MAX_ANSWER_BYTES", 2 * 2**20)
    monkeypatch.setattr(model_client, "FIRST_PAUSE", 0.01)


@pytest.fixture
def files(tmp_path) -> list[str]:
    paths = [tmp_path / name for name in ("a.png", "b.png", "absent.png")]
    for path in paths[:2]:
        path.write_bytes(b"x")
    return [str(path) for path in paths]


def check(predictions: list[Prediction], files: list[str], error: str | None, capsys) -> None:
    """Every file has a row in each format, the first two with the error, or with a class."""
    assert [p.path for p in predictions] == files
    assert predictions[2].error == "No such file or directory"
    for prediction in predictions[:2]:
        assert prediction.error.startswith(error or "")
        assert bool(prediction.error) == (error is not None)
    for style, count in (("table", 3), ("csv", 4), ("json", 3)):
        assert write_predictions(predictions, style) == (1 if error is None else 3)
        lines = capsys.readouterr().out.split("\n")[:-1]
        assert len(lines) == count
        assert all(line.isprintable() for line in lines)


def seconds(error: str | None) -> float:
    """A timeout, short where it is to pass."""
    return 0.5 if error == LATE else 10


@pytest.mark.parametrize("mood", REST)
def test_moods_of_a_rest_server(mood, files, capsys):
    answer, error = REST[mood]
    with rest_server(answer, http(METADATA)) as address:
        predictions = list(predict_on_server(address, files, "m", timeout=seconds(error)))
    check(predictions, files, error, capsys)


@pytest.mark.parametrize("mood", GRPC)
def test_moods_of_a_grpc_server(mood, files, capsys):
    answer, error = GRPC[mood]
    with grpc_server(lambda context: answer, signature_answer()) as address:
        predictions = list(predict_on_server(address, files, "m", timeout=10))
    check(predictions, files, error, capsys)


def test_a_grpc_server_that_stalls_or_reports_escapes(files, capsys):
    ended = threading.Event()

    def stalled(context):
        ended.wait()
        return b""

    with grpc_server(stalled, signature_answer()) as address:
        check(list(predict_on_server(address, files, "m", timeout=0.5)), files, LATE, capsys)
        ended.set()

    def failing(context):
        context.abort(grpc.StatusCode.INTERNAL, "\x1b[31mred")

    with grpc_server(failing, signature_answer()) as address:
        predictions = list(predict_on_server(address, files, "m", timeout=10))
    check(predictions, files, r"the server reports INTERNAL: \x1b[31mred", capsys)


@pytest.mark.parametrize(
    ("metadata", "line"),
    [
        (http([1]), "it has no serving_default signature"),
        (http({"metadata": {"signature_def": []}}), "it has no serving_default signature"),
        (http(b"[" * 100_000), NOT_REST),
        (drip(HEAD + b"X: ", b"x"), LATE),
        (http(METADATA | {"metadata": 1}, "404 No"), "the server reports HTTP 404: No"),
        (b"", "RemoteDisconnected('Remote end closed connection without response')))"),
        (b"SSH-2.0-x\r\n", r"BadStatusLine('SSH-2.0-x\r\n')))"),
        (HEAD + b"X: y\r\n" * 200 + b"\r\n", "HTTPException('got more than 100 headers')))"),
    ],
)
def test_a_rest_server_without_a_signature_ends_the_run_in_one_line(metadata, line):
    with rest_server(b"", metadata) as address, pytest.raises(RunError) as error:
        predict_on_server(address, [], "m", timeout=seconds(line))
    assert str(error.value).startswith(f"--server={address}")
    assert str(error.value).endswith(line)


@pytest.mark.parametrize(
    ("metadata", "line"),
    [
        (signature_answer(b"\xff" * 9), "it has no serving_default signature"),
        (signature_answer(b""), "not an export of covid_lm, its inputs are none"),
        (b"", "not an export of covid_lm, its inputs are none"),
    ],
)
def test_a_grpc_server_without_a_signature_ends_the_run_in_one_line(metadata, line):
    with grpc_server(lambda context: b"", metadata) as address, pytest.raises(RunError) as error:
        predict_on_server(address, [], "m", timeout=10)
    assert str(error.value) == f"--server={address} --model_name=m: {line}"
