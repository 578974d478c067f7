"""A trained classifier as one SavedModel: written, verified, then published."""

import json
import os
from collections.abc import Iterator, Sequence

import keras
import numpy as np
import tensorflow as tf

from covid_lm.averaged_classifier import AnyClassifier
from covid_lm.backbones.vocabulary import write_vocabulary
from covid_lm.classifier_files import load_classifier
from covid_lm.data.records import ImageRecord
from covid_lm.data.tokens import decode_records, raw_batches
from covid_lm.errors import RunError
from covid_lm.evaluation.protocols import predict_tokens
from covid_lm.file_system import read_bytes
from covid_lm.run_directory import sample_records, write_text
from covid_lm.serving.graph_ops import forbidden_ops
from covid_lm.serving.publish import publish_version
from covid_lm.serving.signatures import signatures
from covid_lm.serving.warm_up import WARM_UP_FILE, write_warm_up

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
    classifier: AnyClassifier,
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


def export_run(model_dir: str, dtype: str = "float32") -> tuple[str, float]:
    """A new version from a finished run, proved with the run's sample images.

    Args:
        model_dir: `saved_models/NAME`.

    Returns:
        As `export_classifier`.

    Raises:
        InputError: no finished run there.
        RunError: as `export_classifier`.
    """
    run_dir = os.path.join(model_dir, "run")
    classifier = load_classifier(run_dir)
    preprocessor = classifier.preprocessor()
    images = decode_records(sample_records(run_dir), preprocessor.image_input)
    tokens = images.tokenize(preprocessor).tokens
    probabilities = predict_tokens(classifier, tokens)
    extra: dict[str, dict | str] = {}
    for filename in ("config.json", "metrics.json", "README.md"):
        extra[filename] = read_bytes(os.path.join(run_dir, filename)).decode()
    extra["model_card.md"] = extra.pop("README.md")
    return export_classifier(classifier, model_dir, images.records, probabilities, extra, dtype)


def write_saved_model(
    classifier: AnyClassifier,
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
    if classifier.reads_tokens:
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
