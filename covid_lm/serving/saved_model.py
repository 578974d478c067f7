"""Export of a classifier as one SavedModel: written, verified, then published."""

import json
import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from covid_lm.backbones.vocabulary import write_vocabulary
from covid_lm.data.records import ImageRecord
from covid_lm.errors import RunError, named_apart, reason
from covid_lm.files import write_text
from covid_lm.models.classifier import Classifier, predict_in_batches
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.pipeline.decoded import decode_records, raw_batches
from covid_lm.serving.graph_check import forbidden_ops
from covid_lm.serving.signatures import signatures
from covid_lm.serving.versions import publish_version

# Largest accepted difference of probabilities, by the export's dtype: above rounding errors, far
# below the effect of a wrong weight.
TOLERANCES = {"float32": 1e-4, "bfloat16": 3e-2}
MOST_RECOMPUTED = 512  # images whose probabilities are computed once more in another dtype

# TF Serving reads this file under --enable_per_model_batching_parameters. Requests wait at most
# 2 ms to be merged, less than one image takes. There are few batch sizes, since the runtime
# prepares each of them once. Without num_batch_threads TF Serving starts a thread per core.
BATCH_SIZES = (1, 8, 32)
BATCHING_PARAMETERS = """\
max_batch_size { value: 32 }
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 64 }
""" + "".join(f"allowed_batch_sizes: {size}\n" for size in BATCH_SIZES)


def export_classifier(
    classifier: Classifier,
    directory: str,
    records: Sequence[ImageRecord],
    probabilities: np.ndarray,
    extra: dict[str, dict | str],
    dtype: str = "float32",
) -> tuple[str, float]:
    """Exports to the next version below `directory`, verified before it is published.

    Loaded again, it must compute the live model's probabilities from the raw bytes of the images,
    and its graph must hold no op that reads files, opens connections or runs Python. If the live
    model computes in another dtype, the probabilities are those of a copy in the export's dtype:
    in bfloat16, a few images of thousands differ by any bound that a wrong weight would exceed.

    Args:
        records: images to verify it with.
        probabilities: the live model's output for them, float32 [n, classes].
        extra: file name to content for `assets.extra/`: strings as they are, dicts as JSON.
        dtype: of the export's weights and arithmetic; its outputs are float32.

    Returns the version's path and the largest absolute difference of probabilities. Raises RunError
    if the verification or the writing failed; nothing is published then.
    """
    difference = 0.0
    tolerance = TOLERANCES[dtype]
    copy = classifier.serving_copy(dtype)
    if dtype != classifier.config.dtype:
        records = records[:MOST_RECOMPUTED]
        probabilities = recomputed(copy, records)

    def write(path: str) -> None:
        nonlocal difference
        write_saved_model(copy, path, extra)
        if forbidden := forbidden_ops(path):
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
        raise RunError(f"{directory}: nothing published, {reason(error)}") from error


def recomputed(copy: Classifier, records: Sequence[ImageRecord]) -> np.ndarray:
    """A serving copy's probabilities of images that can be decoded, float32 [n, classes]."""
    preprocessor = copy.preprocessor()
    tokens = decode_records(records, preprocessor.image_input).tokenize(preprocessor).tokens
    inputs = copy.core_inputs({key: tf.constant(value) for key, value in tokens.items()})
    return predict_in_batches(copy.core, {key: x.numpy() for key, x in inputs.items()}, 32)


def write_saved_model(copy: Classifier, path: str, extra: dict[str, dict | str]) -> None:
    """Writes the SavedModel of a serving copy with its assets; `extra` as `export_classifier`.

    The copy's weights are fixed from then on.
    """
    copy.fix_weights()
    # Graphs rather than functions, which would be traced once more while they are saved (by
    # keras.export.ExportArchive, too). Only the variables that they use are tracked.
    graphs = {
        name: tf.function(function, input_signature=specs, autograph=False).get_concrete_function()
        for name, (function, specs) in signatures(copy).items()
    }
    tracked = tf.Module()
    used = {id(variable): variable for graph in graphs.values() for variable in graph.variables}
    tracked.weights = list(used.values())
    tf.saved_model.save(tracked, path, signatures=graphs)

    assets, assets_extra = os.path.join(path, "assets"), os.path.join(path, "assets.extra")
    os.makedirs(assets, exist_ok=True)
    os.makedirs(assets_extra, exist_ok=True)
    if isinstance(copy, TokenClassifier):
        write_vocabulary(copy.vocabulary, os.path.join(assets, "vocab.txt"))
    labels = named_apart(copy.config.classes).values()  # a line each
    write_vocabulary(tuple(labels), os.path.join(assets, "labels.txt"))
    for name, content in extra.items():
        text = content if isinstance(content, str) else json.dumps(content, indent=2) + "\n"
        write_text(os.path.join(assets_extra, name), text)
    warm_up = os.path.join(assets_extra, "tf_serving_warmup_requests")
    _write_warm_up(warm_up, copy.preprocessor().reads_filename)
    write_text(os.path.join(path, "batching_params.pbtxt"), BATCHING_PARAMETERS)


def export_difference(
    path: str, records: Sequence[ImageRecord], probabilities: np.ndarray
) -> float:
    """The largest absolute difference between a SavedModel's probabilities and the given ones."""
    model = tf.saved_model.load(path)
    serve = model.signatures["serving_default"]
    batches = []
    for image_bytes, filename in raw_batches(records, BATCH_SIZES[-1]):
        inputs = {"image_bytes": image_bytes, "filename": filename}
        names = serve.structured_input_signature[1]
        batches.append(serve(**{name: inputs[name] for name in names})["probabilities"])
    return float(np.max(np.abs(np.concatenate(batches) - probabilities)))


def _write_warm_up(path: str, reads_filename: bool) -> None:
    """Writes a predict request of every batch size that the server may form, and one classify."""
    image = tf.io.encode_png(tf.zeros([32, 32, 3], tf.uint8)).numpy()
    inputs = {"image_bytes": image} | ({"filename": b"warm-up.png"} if reads_filename else {})
    with tf.io.TFRecordWriter(path) as writer:
        for batch_size in BATCH_SIZES:
            log = PredictionLog()
            log.predict_log.request.model_spec.signature_name = "serving_default"
            for name, value in inputs.items():
                tensor = tf.make_tensor_proto([value] * batch_size)
                log.predict_log.request.inputs[name].CopyFrom(tensor)
            writer.write(log.SerializeToString())
        log = PredictionLog()
        log.classify_log.request.model_spec.signature_name = "classify"
        example = log.classify_log.request.input.example_list.examples.add()
        example.features.feature["image/encoded"].bytes_list.value.append(image)
        example.features.feature["image/filename"].bytes_list.value.append(b"warm-up.png")
        writer.write(log.SerializeToString())
