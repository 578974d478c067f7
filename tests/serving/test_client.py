"""Both clients against an export behind TF Serving's interfaces."""

import os
import sys
import threading
import time

import grpc
import pytest
import tensorflow as tf
import urllib3

from covid_lm.errors import InputError, RunError
from covid_lm.serving import model_client, predict
from covid_lm.serving.client import predict_on_server
from covid_lm.serving.predict import image_files, in_batches, predict_files
from tests.serving.conftest import NAME
from tests.serving.model_server import ServedModel, serve
from tests.serving.rest_json import StatusError
from tests.serving.tiny_model import CLASSES


@pytest.fixture(params=["grpc", "rest"])
def interface(request) -> str:
    return request.param


@pytest.fixture
def model(served):
    """The served model that reads file names, as new."""
    model, _ = served["masked"]
    model.batch_sizes.clear()
    yield model
    model.before_predict = lambda number: None


@pytest.fixture
def server(served, model, interface) -> str:
    return served["masked"][1][interface]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(
        model_client, "FIRST_PAUSE", 0.01
    )  # gRPC waits forever on pauses under 1 ms


@pytest.mark.parametrize(("policy", "batch_size"), [("masked", 4), ("masked", 32), ("fixed", 4)])
def test_a_server_answers_as_the_export_does(served, version_dirs, mixed_files, policy, batch_size):
    direct = list(predict_files(version_dirs[policy], mixed_files, batch_size))
    for server in served[policy][1].values():
        assert list(predict_on_server(server, mixed_files, NAME, batch_size)) == direct
    errors = {os.path.basename(p.path): p.error for p in direct if p.error}
    assert errors == {
        "1-text.png": "not an image",
        "2-empty.jpg": "empty",
        "3-half.png": "truncated or damaged",
        "3-nowhere.png": "No such file or directory",
    }
    assert len(direct) == 10
    assert len({p.probabilities for p in direct if not p.error}) == 6


def test_batches_are_limited_in_count_and_in_bytes(server, model, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "BATCH_BYTES", 100)
    for name, size in (("a", 10), ("b", 10), ("c", 500), ("d", 80), ("e", 30), ("f", 1)):
        (tmp_path / f"{name}.png").write_bytes(b"x" * size)
    paths = image_files([str(tmp_path)])
    predictions = list(predict_on_server(server, paths, NAME, batch_size=2))
    assert [p.path for p in predictions] == paths
    assert {p.error for p in predictions} == {"not an image"}
    assert model.batch_sizes == [2, 1, 1, 2]


def test_a_large_request_goes_through(server, model, tmp_path):
    """Larger than gRPC's usual 4 MB."""
    (tmp_path / "large.bin").write_bytes(bytes(6 * 2**20))
    (prediction,) = predict_on_server(server, [str(tmp_path / "large.bin")], NAME)
    assert prediction.error == "not an image"


def test_files_are_read_as_answers_are_taken():
    taken = []

    def endless():
        while True:
            taken.append("absent")
            yield "absent"

    answers = in_batches(endless(), lambda batch: [], batch_size=3)
    assert next(answers).error == "No such file or directory"
    assert len(taken) == 3


def test_a_request_to_an_unavailable_server_is_retried(server, model, mixed_files):
    def unavailable_twice(number):
        if number < 2:
            raise StatusError("the queue is full", grpc.StatusCode.UNAVAILABLE)

    model.before_predict = unavailable_twice
    (prediction,) = predict_on_server(server, mixed_files[:1], NAME)
    assert prediction.label in CLASSES
    assert len(model.batch_sizes) == 3


def test_a_server_that_stays_unavailable_ends_the_run(server, model, mixed_files):
    def unavailable(number):
        raise StatusError("the queue is full", grpc.StatusCode.UNAVAILABLE)

    model.before_predict = unavailable
    with pytest.raises(RunError) as error:
        list(predict_on_server(server, mixed_files, NAME))
    expected = f"--server={server}: unavailable, despite retries (the queue is full)"
    assert str(error.value) == expected
    assert len(model.batch_sizes) == model_client.ATTEMPTS


def test_requests_of_any_size_are_retried(server, model, tmp_path):
    """gRPC by default repeats no request of more than 256 KiB."""

    def unavailable_once(number):
        if number == 0:
            raise StatusError("the queue is full", grpc.StatusCode.UNAVAILABLE)

    (tmp_path / "large.bin").write_bytes(bytes(2 * 2**20))
    model.before_predict = unavailable_once
    (prediction,) = predict_on_server(server, [str(tmp_path / "large.bin")], NAME)
    assert prediction.error == "not an image"
    assert len(model.batch_sizes) == 2


def test_a_rest_server_that_limits_its_clients_is_retried(served, model, mixed_files):
    def limit_twice(number):
        if number < 2:
            raise StatusError("slow down", grpc.StatusCode.RESOURCE_EXHAUSTED)

    model.before_predict = limit_twice
    (prediction,) = predict_on_server(served["masked"][1]["rest"], mixed_files[:1], NAME)
    assert prediction.label in CLASSES
    assert len(model.batch_sizes) == 3


def test_pauses_double_up_to_a_bound(monkeypatch):
    pauses = []
    monkeypatch.setattr(model_client, "FIRST_PAUSE", 1.0)
    monkeypatch.setattr(model_client, "ATTEMPTS", 6)
    monkeypatch.setattr(urllib3.util.retry.time, "sleep", pauses.append)
    monkeypatch.setattr(urllib3.util.retry.random, "random", lambda: 0.0)
    with pytest.raises(RunError, match="unavailable, despite retries"):
        predict_on_server("http://127.0.0.1:1", [], NAME)
    assert pauses == [2, 4, 4, 4]  # urllib3's first retry comes without a pause


def test_no_retry_after_the_deadline(monkeypatch, interface):
    monkeypatch.setattr(model_client, "FIRST_PAUSE", 4.0)
    address = "http://127.0.0.1:1" if interface == "rest" else "127.0.0.1:1"
    started = time.monotonic()
    with pytest.raises(RunError, match=r"Connection refused|no answer from the server within 1 s"):
        predict_on_server(address, [], NAME, timeout=1.0)
    assert time.monotonic() - started < 2


def test_a_refused_request_costs_its_own_files_only(server, model, mixed_files):
    def refuse_the_second(number):
        if number == 1:
            raise StatusError("too\nmuch " + "x" * 1000, grpc.StatusCode.INVALID_ARGUMENT)

    model.before_predict = refuse_the_second
    predictions = list(predict_on_server(server, mixed_files, NAME, batch_size=3))
    assert model.batch_sizes == [3, 3, 2, 1]
    refused = [p.path for p in predictions if p.error.startswith("the server reports ")]
    assert refused == mixed_files[3:6]
    for prediction in predictions[3:6]:
        assert "too much xxx" in prediction.error
        assert len(prediction.error) < 250
        assert "\n" not in prediction.error


def test_a_passed_deadline_costs_its_own_files_only(server, model, mixed_files):
    hold = threading.Event()

    def stall_the_second(number):
        if number == 1:
            hold.wait()

    model.before_predict = stall_the_second
    try:
        predictions = list(predict_on_server(server, mixed_files, NAME, batch_size=4, timeout=3))
    finally:
        hold.set()
    late = [p.path for p in predictions if p.error == "no answer from the server within 3 s"]
    assert late == [mixed_files[4], mixed_files[5], mixed_files[7]]
    assert predictions[8].label in CLASSES


@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost",
        "localhost:",
        "localhost:abc",
        "localhost:0",
        "localhost:70000",
        ":8500",
        "a b:8500",
        "::1:8500",
        "grpc://localhost:8500",
        "ftp://localhost:8501",
        "http://localhost",
        "http://user@localhost:8501",
        "http://localhost:8501/v1/models/tiny",
        "localhost:8500?x",
    ],
)
def test_malformed_addresses(address):
    with pytest.raises(InputError) as error:
        predict_on_server(address, [], NAME)
    expected = "give HOST:PORT for gRPC or http://HOST:PORT for REST, and nothing after it"
    assert str(error.value) == f"--server={address}: {expected}"


def test_an_unknown_model(server, mixed_files):
    with pytest.raises(RunError) as error:
        predict_on_server(server, mixed_files, "other")
    text = str(error.value)
    assert text.startswith(f"--server={server} --model_name=other: the server reports ")
    assert text.endswith(": Servable not found for request: Latest(other)")


def test_a_model_of_another_kind(tmp_path, interface):
    class Doubler(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
        def double(self, x):
            return {"y": 2 * x}

    module = Doubler()
    tf.saved_model.save(module, str(tmp_path), signatures=module.double)
    with serve(ServedModel("doubler", 1, str(tmp_path))) as addresses:
        server = addresses[interface == "rest"]
        with pytest.raises(RunError) as error:
            predict_on_server(server, [], "doubler")
    expected = "not an export of covid_lm, its inputs are x"
    assert str(error.value) == f"--server={server} --model_name=doubler: {expected}"


def test_a_rest_request_to_a_grpc_server(served):
    address = served["masked"][1]["grpc"]
    with pytest.raises(RunError, match=r"no REST model server|unavailable"):
        predict_on_server(f"http://{address}", [], NAME)


def test_without_the_stubs(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving", None)
    monkeypatch.delitem(sys.modules, "covid_lm.serving.grpc_client", raising=False)
    for name in [name for name in sys.modules if name.startswith("tensorflow_serving.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InputError, match=r"needs tensorflow-serving-api .*pip install tensorflow-"):
        predict_on_server("127.0.0.1:8500", [], NAME)


def test_grpc_without_a_server():
    with pytest.raises(RunError) as error:
        predict_on_server("127.0.0.1:1", [], NAME)
    text = str(error.value)
    assert text.startswith("--server=127.0.0.1:1: unavailable, despite retries (")
    assert "Connection refused" in text
    assert "\n" not in text
