"""Export of a classifier as one SavedModel: written, verified, then published."""

import json
import os
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

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

# Largest accepted difference of probabilities, by the coarser of the live model's and the export's
# dtype: above rounding errors, far below the effect of a wrong weight.
TOLERANCES = {"float32": 1e-4, "bfloat16": 3e-2}

# TF Serving reads this file under --enable_per_model_batching_parameters. Requests wait at most
# 2 ms to be merged, less than one image takes. There are few batch sizes, since the runtime
# prepares each of them once. num_batch_threads is left out: TF Serving then starts a thread per
# core of its own machine, which is unknown here.
BATCH_SIZES = (1, 8, 32)
BATCHING_PARAMETERS = """\
max_batch_size { value: 32 }
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 64 }
allowed_batch_sizes: 1
allowed_batch_sizes: 8
allowed_batch_sizes: 32
"""

WARM_UP_FILE = "tf_serving_warmup_requests"


def export_classifier(
    classifier: Classifier,
    directory: str,
    records: Sequence[ImageRecord],
    probabilities: np.ndarray,
    extra: dict[str, dict | str],
    dtype: str = "float32",
) -> tuple[str, float]:
    """Exports to the next version below `directory`, verified before it is published.

    The staged SavedModel is loaded again. From the raw bytes of the images it must compute the live
    model's probabilities, and its graph must hold no op that reads files, opens connections or
    runs Python.

    Args:
        records: images to verify it with.
        probabilities: the live model's output for them, float32 [n, classes].
        extra: file name to content for `assets.extra/`: strings as they are, dicts as JSON.
        dtype: of the export's weights and arithmetic; its outputs are float32 in any case.

    Returns:
        The version's path and the largest absolute difference of probabilities.

    Raises:
        RunError: the verification failed, or the files can't be written; nothing is published then.
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
    classifier: Classifier, path: str, extra: dict[str, dict | str], dtype: str = "float32"
) -> None:
    """Writes the SavedModel with its assets.

    Nothing is tracked but the endpoints: a tracked model's weights would be stored twice.
    """
    archive = keras.export.ExportArchive()
    for name, (function, specs) in signatures(classifier.serving_copy(dtype)).items():
        archive.add_endpoint(name, function, input_signature=specs)
    archive.write_out(path, verbose=False)

    assets, assets_extra = os.path.join(path, "assets"), os.path.join(path, "assets.extra")
    os.makedirs(assets, exist_ok=True)
    os.makedirs(assets_extra, exist_ok=True)
    if isinstance(classifier, TokenClassifier):
        write_vocabulary(classifier.vocabulary, os.path.join(assets, "vocab.txt"))
    write_vocabulary(classifier.config.classes, os.path.join(assets, "labels.txt"))
    for name, content in extra.items():
        text = content if isinstance(content, str) else json.dumps(content, indent=2) + "\n"
        write_text(os.path.join(assets_extra, name), text)
    _write_warm_up(
        os.path.join(assets_extra, WARM_UP_FILE), classifier.preprocessor().reads_filename
    )
    write_text(os.path.join(path, "batching_params.pbtxt"), BATCHING_PARAMETERS)


def export_difference(
    path: str, records: Sequence[ImageRecord], probabilities: np.ndarray, batch_size: int = 32
) -> float:
    """The largest absolute difference between a SavedModel's probabilities and the given ones."""
    batches = [
        outputs["probabilities"].numpy() for outputs in run_saved_model(path, records, batch_size)
    ]
    return float(np.max(np.abs(np.concatenate(batches) - probabilities)))


def run_saved_model(
    path: str, records: Sequence[ImageRecord], batch_size: int = 32
) -> Iterator[dict[str, tf.Tensor]]:
    """Yields the outputs of `serving_default` for the records' raw bytes, batch by batch."""
    model = tf.saved_model.load(path)
    serve = model.signatures["serving_default"]
    names = set(serve.structured_input_signature[1])
    for image_bytes, filename in raw_batches(records, batch_size):
        inputs = {"image_bytes": image_bytes, "filename": filename}
        yield serve(**{name: inputs[name] for name in names})


def _write_warm_up(path: str, reads_filename: bool) -> None:
    """Writes a predict request of every batch size that the server may form, and one classify."""
    image = tf.io.encode_png(tf.zeros([32, 32, 3], tf.uint8)).numpy()
    inputs = {"image_bytes": image, **({"filename": b"warm-up.png"} if reads_filename else {})}
    logs = [PredictionLog() for _ in (*BATCH_SIZES, "classify")]
    for log, batch_size in zip(logs, BATCH_SIZES, strict=False):
        request = log.predict_log.request
        request.model_spec.signature_name = "serving_default"
        for name, value in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto([value] * batch_size))
    classify = logs[-1].classify_log.request
    classify.model_spec.signature_name = "classify"
    feature = classify.input.example_list.examples.add().features.feature
    feature["image/encoded"].bytes_list.value.append(image)
    feature["image/filename"].bytes_list.value.append(b"warm-up.png")
    with tf.io.TFRecordWriter(path) as writer:
        for log in logs:
            writer.write(log.SerializeToString())
