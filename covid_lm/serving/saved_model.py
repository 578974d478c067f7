"""A trained classifier as one SavedModel: written, verified, then published."""

import json
import os
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from covid_lm.backbones.vocabulary import write_vocabulary
from covid_lm.data.records import ImageRecord
from covid_lm.errors import RunError
from covid_lm.files import write_text
from covid_lm.models.classifier import Classifier
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.pipeline.decoded import raw_batches
from covid_lm.serving.graph_check import forbidden_ops
from covid_lm.serving.signatures import signatures
from covid_lm.serving.versions import publish_version

# Largest accepted difference by the coarser of the live model's and the export's dtype: above what
# rounding can do, far below what a wrong weight would.
TOLERANCES = {"float32": 1e-4, "bfloat16": 3e-2}

# Read by TF Serving under --enable_per_model_batching_parameters. Batches are merged for at most
# 2 ms, which is little beside the milliseconds that one image takes; sizes are few, since each one
# seen for the first time costs the runtime some set-up.
BATCHING_PARAMETERS = """\
max_batch_size { value: 32 }
batch_timeout_micros { value: 2000 }
num_batch_threads { value: 2 }
max_enqueued_batches { value: 64 }
allowed_batch_sizes: 1
allowed_batch_sizes: 8
allowed_batch_sizes: 32
"""


def export_classifier(
    classifier: Classifier,
    directory: str,
    records: Sequence[ImageRecord],
    probabilities: np.ndarray,
    extra: dict[str, dict | str],
    dtype: str = "float32",
) -> tuple[str, float]:
    """Exports to the next version below `directory` and proves it before it is published.

    The staged SavedModel is reloaded and must give the live model's probabilities, and its graph
    must hold no op that reads files, opens connections or runs Python.

    Args:
        records: images to prove it with.
        probabilities: what the live model says of them, float32 [n, classes].
        extra: file name to content, written to `assets.extra/`: text as it is, else as JSON.
        dtype: of the export's weights and arithmetic; its outputs are float32 in any case.

    Returns:
        The version's path and the largest absolute difference seen.

    Raises:
        RunError: the export is not what it should be, or can't be written; nothing is published
            then.
    """
    difference = 0.0
    tolerance = max(TOLERANCES[classifier.config.dtype], TOLERANCES[dtype])

    def write(path: str) -> None:
        nonlocal difference
        write_saved_model(classifier, path, extra, dtype)
        forbidden = forbidden_ops(path)
        if forbidden:
            raise RunError(f"{directory}: not published, its graph holds {', '.join(forbidden)}")
        difference = export_difference(path, records, probabilities)
        if not difference <= tolerance:
            raise RunError(
                f"{directory}: not published, the export's probabilities differ by "
                f"{difference:.2e} from the live model's (at most {tolerance:.0e} allowed)"
            )

    try:
        return publish_version(directory, write), difference
    except (OSError, tf.errors.OpError) as error:
        text = error.strerror or str(error) if isinstance(error, OSError) else error.message
        raise RunError(f"{directory}: nothing published, {text.splitlines()[0]}") from error


def write_saved_model(
    classifier: Classifier,
    path: str,
    extra: dict[str, dict | str],
    dtype: str = "float32",
) -> None:
    """Writes the SavedModel with its assets.

    Endpoints only, nothing tracked: a tracked model's weights would be stored a second time.
    """
    archive = keras.export.ExportArchive()
    for name, (function, specs) in signatures(classifier.serving_copy(dtype)).items():
        archive.add_endpoint(name, function, input_signature=specs)
    archive.write_out(path, verbose=False)

    assets = os.path.join(path, "assets")
    os.makedirs(assets, exist_ok=True)
    if isinstance(classifier, TokenClassifier):
        write_vocabulary(classifier.vocabulary, os.path.join(assets, "vocab.txt"))
    write_vocabulary(classifier.config.classes, os.path.join(assets, "labels.txt"))
    os.makedirs(f"{assets}.extra", exist_ok=True)
    for filename, content in extra.items():
        text = content if isinstance(content, str) else json.dumps(content, indent=2) + "\n"
        write_text(os.path.join(f"{assets}.extra", filename), text)
    reads_filename = classifier.preprocessor().reads_filename
    write_warm_up(os.path.join(f"{assets}.extra", WARM_UP_FILE), reads_filename)
    with open(os.path.join(path, "batching_params.pbtxt"), "w", encoding="utf-8") as file:
        file.write(BATCHING_PARAMETERS)


def export_difference(
    path: str, records: Sequence[ImageRecord], probabilities: np.ndarray, batch_size: int = 32
) -> float:
    """The largest absolute difference between a SavedModel's answers and `probabilities`."""
    answers = [
        answer["probabilities"].numpy() for answer in run_saved_model(path, records, batch_size)
    ]
    return float(np.max(np.abs(np.concatenate(answers) - probabilities)))


def run_saved_model(
    path: str, records: Sequence[ImageRecord], batch_size: int = 32
) -> Iterator[dict[str, tf.Tensor]]:
    """Yields `serving_default`'s answers, batch by batch, for records read from the data set."""
    model = tf.saved_model.load(path)
    serve = model.signatures["serving_default"]
    names = set(serve.structured_input_signature[1])
    for image_bytes, filename in raw_batches(records, batch_size):
        inputs = {"image_bytes": image_bytes, "filename": filename}
        yield serve(**{name: inputs[name] for name in names})


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
