"""The warm-up requests that TF Serving replays when it loads an export."""

import os

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2


def test_the_requests_replay_without_error(version_dirs):
    path = version_dirs["masked"]
    model = tf.saved_model.load(path)
    warm_up = os.path.join(path, "assets.extra", "tf_serving_warmup_requests")
    batch_sizes = []
    for record in tf.data.TFRecordDataset(warm_up).as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        if log.HasField("predict_log"):
            request = log.predict_log.request
            inputs = {k: tf.constant(tf.make_ndarray(v)) for k, v in request.inputs.items()}
            answer = model.signatures[request.model_spec.signature_name](**inputs)
            assert answer["valid"].numpy().all()
            batch_sizes.append(len(answer["label"]))
        else:
            request = log.classify_log.request
            examples = [e.SerializeToString() for e in request.input.example_list.examples]
            answer = model.signatures[request.model_spec.signature_name](tf.constant(examples))
            assert not tf.reduce_any(tf.math.is_nan(answer["scores"]))
            batch_sizes.append("classify")
    assert batch_sizes == [1, 8, 32, "classify"]
