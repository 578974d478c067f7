"""The test model server follows TF Serving's rules, on which the client tests rely."""

import base64
import json
import pathlib
import urllib.error
import urllib.request

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2, predict_pb2, prediction_service_pb2_grpc

from tests.serving.conftest import NAME, VERSION
from tests.serving.rest_json import json_values, predict_answer
from tests.serving.tiny_model import CLASSES


@pytest.fixture(scope="module")
def ask(served):
    """Function that sends a request to a REST server and returns status and answer."""

    def ask_server(policy: str, path: str, document: dict | None = None) -> tuple[int, dict]:
        url = f"{served[policy][1]['rest']}/v1/models/{path}"
        data = None if document is None else json.dumps(document).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data)) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    return ask_server


def b64(content: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(content).decode()}


@pytest.fixture(scope="module")
def images(mixed_files) -> list[bytes]:
    return [pathlib.Path(path).read_bytes() for path in (mixed_files[0], mixed_files[-1])]


def test_row_and_columnar_requests_agree(ask, images):
    names = ["a.png", "long name.png"]
    rows = [
        {"image_bytes": b64(image), "filename": name}
        for image, name in zip(images, names, strict=True)
    ]
    columns = {"image_bytes": [b64(image) for image in images], "filename": names}
    status, by_row = ask("masked", f"{NAME}:predict", {"instances": rows})
    assert status == 200
    status, by_column = ask("masked", f"{NAME}/versions/{VERSION}:predict", {"inputs": columns})
    assert status == 200
    assert by_column["outputs"].keys() == {"probabilities", "label", "valid", "reason"}
    for key, column in by_column["outputs"].items():
        assert [row[key] for row in by_row["predictions"]] == column


def test_one_input_needs_no_name_and_one_output_has_none(ask, images):
    plain = [b64(image) for image in images]
    named = [{"image_bytes": value} for value in plain]
    request = {"signature_name": "embed", "instances": plain}
    status, answer = ask("fixed", f"{NAME}/labels/stable:predict", request)
    assert status == 200
    assert np.shape(answer["predictions"]) == (2, 64)
    assert ask("fixed", f"{NAME}:predict", {**request, "instances": named}) == (200, answer)
    del request["instances"]
    columns = ask("fixed", f"{NAME}:predict", {**request, "inputs": plain})
    assert columns == (200, {"outputs": answer["predictions"]})


IMAGE = b64(b"x")
BAD_REQUESTS = {
    "no key": {},
    "both keys": {"instances": [], "inputs": {}},
    "instances is no list": {"instances": {"image_bytes": IMAGE, "filename": "a"}},
    "no instance": {"instances": []},
    "plain list for two inputs": {"instances": ["a"]},
    "missing key": {"instances": [{"image_bytes": IMAGE}]},
    "extra key": {"instances": [{"image_bytes": IMAGE, "filename": "a", "x": 1}]},
    "mixed list": {"instances": [{"image_bytes": IMAGE, "filename": "a"}, "b"]},
    "mixed shapes": {
        "instances": [
            {"image_bytes": IMAGE, "filename": "a"},
            {"image_bytes": [IMAGE], "filename": "a"},
        ]
    },
    "b64 with a second key": {"instances": [{"image_bytes": {**IMAGE, "x": 1}, "filename": "a"}]},
    "broken base64": {"instances": [{"image_bytes": {"b64": "x"}, "filename": "a"}]},
    "a number for a string": {"instances": [{"image_bytes": 1, "filename": "a"}]},
    "ragged list": {"inputs": {"image_bytes": [[IMAGE, IMAGE], [IMAGE]], "filename": ["a", "b"]}},
    "missing column": {"inputs": {"image_bytes": [IMAGE]}},
    "no column names": {"inputs": [IMAGE]},
    "unknown signature": {"signature_name": "x", "inputs": {}},
    "signature name is no string": {"signature_name": 1, "inputs": {}},
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
def test_bad_requests(ask, case):
    status, answer = ask("masked", f"{NAME}:predict", BAD_REQUESTS[case])
    assert status == 400
    assert list(answer) == ["error"]


def test_addresses_of_no_model(ask):
    assert ask("masked", "other")[0] == 404
    assert ask("masked", f"{NAME}/versions/9:predict", {"inputs": {}})[0] == 404
    assert ask("masked", f"{NAME}/labels/canary:predict", {"inputs": {}})[0] == 400
    assert ask("masked", f"{NAME}:explain", {})[0] == 400


def test_status_and_metadata(ask):
    status, answer = ask("masked", NAME)
    assert (status, answer["model_version_status"][0]["state"]) == (200, "AVAILABLE")
    for policy, names in (("masked", {"image_bytes", "filename"}), ("fixed", {"image_bytes"})):
        status, answer = ask(policy, f"{NAME}/metadata")
        signatures = answer["metadata"]["signature_def"]["signature_def"]
        assert set(signatures["serving_default"]["inputs"]) == names
        assert answer["model_spec"]["version"] == str(VERSION)


def test_binary_outputs_and_float32_decimals():
    outputs = {
        "raw_bytes": np.array([b"\xff", b"b"], object),
        "text": np.array([b"a", b"b"], object),
        "score": np.array([0.1, np.nan], np.float32),
    }
    answer = predict_answer(outputs, row_format=True)["predictions"]
    assert answer[0] == {"raw_bytes": {"b64": "/w=="}, "text": "a", "score": 0.1}
    value = np.nextafter(np.float32(0.1), np.float32(1))
    assert json_values(value) == 0.100000009
    assert np.float32(json_values(value)) == value


def test_classify_by_rest_and_by_grpc(served, ask, images):
    names = ["a.png", "long name.png"]
    examples = [
        {"image/encoded": b64(image), "image/filename": name}
        for image, name in zip(images, names, strict=True)
    ]
    document = {"signature_name": "classify", "examples": examples}
    status, answer = ask("masked", f"{NAME}:classify", document)
    assert status == 200
    assert [[label for label, _ in row] for row in answer["results"]] == [list(CLASSES)] * 2

    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = NAME
    request.model_spec.signature_name = "classify"
    for image, name in zip(images, names, strict=True):
        feature = request.input.example_list.examples.add().features.feature
        feature["image/encoded"].bytes_list.value.append(image)
        feature["image/filename"].bytes_list.value.append(name.encode())
    with grpc.insecure_channel(served["masked"][1]["grpc"]) as channel:
        service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        result = service.Classify(request, timeout=30).result
        predict = predict_pb2.PredictRequest()
        predict.model_spec.name = NAME
        predict.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(images))
        predict.inputs["filename"].CopyFrom(tf.make_tensor_proto(names))
        probabilities = tf.make_ndarray(
            service.Predict(predict, timeout=30).outputs["probabilities"]
        )
    scores = np.array([[c.score for c in row.classes] for row in result.classifications])
    np.testing.assert_array_equal(scores.astype(np.float32), probabilities)
    by_rest = np.array([[score for _, score in row] for row in answer["results"]], np.float32)
    np.testing.assert_array_equal(by_rest, probabilities)

    assert ask("masked", f"{NAME}:classify", {"examples": examples})[0] == 400
    assert ask("masked", f"{NAME}:classify", {"signature_name": "classify"})[0] == 400
