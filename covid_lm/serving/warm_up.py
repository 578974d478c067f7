"""Requests that TF Serving replays while it loads a version, so that no user waits for the first.

A TFRecord file of `PredictionLog` at `assets.extra/tf_serving_warmup_requests`.
"""

import os

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

WARM_UP_FILE = "tf_serving_warmup_requests"
BATCH_SIZES = (1, 8, 32)  # those that batching_params.pbtxt allows


def write_warm_up(path: str, reads_filename: bool) -> None:
    """Writes predict requests at every batch size that the server may form, and one classify.

    Args:
        path: the file to write.
        reads_filename: whether the predict signature has a `filename` input.
    """
    image = tf.io.encode_png(tf.zeros([32, 32, 3], tf.uint8)).numpy()
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for batch_size in BATCH_SIZES:
            writer.write(_predict_log(image, batch_size, reads_filename).SerializeToString())
        writer.write(_classify_log(image).SerializeToString())


def _predict_log(
    image: bytes, batch_size: int, reads_filename: bool
) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = "serving_default"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([image] * batch_size))
    if reads_filename:
        request.inputs["filename"].CopyFrom(tf.make_tensor_proto([b"warm-up.png"] * batch_size))
    return log


def _classify_log(image: bytes) -> prediction_log_pb2.PredictionLog:
    log = prediction_log_pb2.PredictionLog()
    request = log.classify_log.request
    request.model_spec.signature_name = "classify"
    example = request.input.example_list.examples.add()
    example.features.feature["image/encoded"].bytes_list.value.append(image)
    example.features.feature["image/filename"].bytes_list.value.append(b"warm-up.png")
    return log
