"""TF Serving's JSON rules: requests to arrays, answers to JSON (its util/json_tensor.cc)."""

import base64
import binascii
import json
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import classification_pb2


class StatusError(Exception):
    """A request that ends with a status, as both interfaces report it."""

    def __init__(self, message: str, code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT):
        super().__init__(message)
        self.code = code


def parse_body(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError as error:
        raise StatusError(f"JSON Parse error: {error}") from None
    if not isinstance(document, dict):
        raise StatusError(f"JSON Value: {document} Is not object")
    if not isinstance(document.get("signature_name", ""), str):
        raise StatusError("'signature_name' key must be a string value.")
    return document


def predict_inputs(document: dict, dtypes: dict[str, tf.DType]) -> tuple[dict, bool]:
    """The input arrays of a predict request, and whether it came in row format."""
    if ("instances" in document) == ("inputs" in document):
        raise StatusError(
            "Missing 'inputs' or 'instances' key"
            if "inputs" not in document
            else "Not formatted correctly expecting only one of 'inputs' or 'instances' keys"
        )
    if "inputs" in document:
        return _columns(document["inputs"], dtypes), False
    instances = document["instances"]
    if not isinstance(instances, list):
        raise StatusError("Excepting 'instances' to be an list/array")
    if not instances:
        raise StatusError("No values in 'instances' array")
    return _rows(instances, dtypes), True


def _columns(inputs: Any, dtypes: dict[str, tf.DType]) -> dict[str, np.ndarray]:
    if not isinstance(inputs, dict) or _is_base64(inputs):
        if len(dtypes) > 1:
            raise StatusError("inputs is a plain value/list, but expecting an object")
        return {name: _array(inputs, dtype) for name, dtype in dtypes.items()}
    for name in dtypes:
        if name not in inputs:
            raise StatusError(f"Missing named input: {name} in 'inputs' object.")
    return {name: _array(inputs[name], dtype) for name, dtype in dtypes.items()}


def _rows(instances: list, dtypes: dict[str, tf.DType]) -> dict[str, np.ndarray]:
    named = isinstance(instances[0], dict) and not _is_base64(instances[0])
    if not isinstance(instances[0], dict) and len(dtypes) > 1:
        raise StatusError("instances is a plain list, but expecting list of objects")
    rows: dict[str, list[np.ndarray]] = {name: [] for name in dtypes}
    for number, element in enumerate(instances):
        if named != (isinstance(element, dict) and not _is_base64(element)):
            got, expected = ("list", "object") if named else ("object", "value/list")
            raise StatusError(f"Expecting {expected} but got {got} at item {number} of input list")
        values = element if named else {next(iter(dtypes)): element}
        if values.keys() != dtypes.keys():
            raise StatusError(
                f"Failed to process element: {number} of 'instances' list. "
                f"JSON object keys must be equal to: {','.join(sorted(dtypes))}"
            )
        for name, value in values.items():
            array = _array(value, dtypes[name])
            if rows[name] and array.shape != rows[name][0].shape:
                raise StatusError(
                    f"Failed to process element: {number} key: {name} of 'instances' list. "
                    f"Error: Expecting shape {rows[name][0].shape} but got: {array.shape}"
                )
            rows[name].append(array)
    return {name: np.stack(arrays) for name, arrays in rows.items()}


def _array(value: Any, dtype: tf.DType) -> np.ndarray:
    shape = []
    level = value
    while isinstance(level, list):
        shape.append(len(level))
        level = level[0] if level else None
    leaves: list = []
    _collect(value, shape, dtype, leaves)
    array = np.empty(len(leaves), dtype.as_numpy_dtype)
    array[:] = leaves
    return array.reshape(shape)


def _collect(value: Any, shape: list[int], dtype: tf.DType, leaves: list) -> None:
    if isinstance(value, list):
        if not shape or len(value) != shape[0]:
            raise StatusError(f"Encountered list at unexpected size: {len(value)}")
        for item in value:
            _collect(item, shape[1:], dtype, leaves)
    elif shape:
        raise StatusError(f"JSON Value: {value} found at incorrect level")
    else:
        leaves.append(_bytes(value) if dtype == tf.string else value)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str)


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if not isinstance(value, dict):
        raise StatusError(f"JSON Value: {value} is not of expected type: string")
    if not _is_base64(value):
        raise StatusError(f"JSON Value: {value} not formatted correctly for base64 data")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except binascii.Error:
        raise StatusError("Unable to base64 decode") from None


def classify_examples(document: dict) -> list[bytes]:
    """The serialized tf.Examples of a classify request with string features."""
    examples = document.get("examples")
    if not isinstance(examples, list):
        raise StatusError("When method is classify, key 'examples' is expected and was not found")
    if not examples:
        raise StatusError("'examples' is an empty array")
    serialized = []
    for values in examples:
        if not isinstance(values, dict):
            raise StatusError("Example must be JSON object")
        example = tf.train.Example()
        for name, value in values.items():
            strings = [_bytes(item) for item in (value if isinstance(value, list) else [value])]
            example.features.feature[name].bytes_list.value.extend(strings)
        serialized.append(example.SerializeToString())
    return serialized


def predict_answer(outputs: dict[str, np.ndarray], row_format: bool) -> dict:
    """A predict answer; the name of an only output is left out."""
    columns = {name: json_values(array, name) for name, array in outputs.items()}
    if not row_format:
        return {"outputs": columns if len(columns) > 1 else next(iter(columns.values()))}
    if len({len(column) for column in columns.values()}) > 1:
        raise StatusError("Tensor has inconsistent batch size")
    if len(columns) == 1:
        return {"predictions": next(iter(columns.values()))}
    rows = zip(*columns.values(), strict=True)
    return {"predictions": [dict(zip(columns, row, strict=True)) for row in rows]}


def classify_answer(result: classification_pb2.ClassificationResult) -> dict:
    rows = [
        [[item.label, json_values(np.float32(item.score))] for item in row.classes]
        for row in result.classifications
    ]
    return {"results": rows}


def json_values(value: np.ndarray | np.generic | bytes, name: str = "") -> Any:
    """An output as JSON: strings as text, or as base64 objects if the name ends in `_bytes`."""
    if isinstance(value, bytes):
        if name.endswith("_bytes"):
            return {"b64": base64.b64encode(value).decode()}
        return value.decode()
    if value.ndim:
        return [json_values(item, name) for item in value]
    if value.dtype == np.float32:
        short = f"{value:.6g}"
        return float(short if np.float32(short) == value else f"{value:.9g}")
    return value.item()
