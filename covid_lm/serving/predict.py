"""Predictions for image files from an exported model. Needs TensorFlow, but not Keras."""

import contextlib
import csv
import dataclasses
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from covid_lm.data.conversion import read_image_file
from covid_lm.data.image_files import find_images, skipped_line
from covid_lm.data.windows import Window
from covid_lm.errors import InputError, RunError, named_apart, reason, visible
from covid_lm.files import WEIGHT_BYTES, check_file, files_below, is_remote, parse_json, read_bytes

NO_REASON = "can't be decoded"  # for an invalid image; older exports give no reason
# A batch holds no more image bytes than this, unless a single image does.
BATCH_BYTES = 32 * 2**20

File = tuple[str, bytes]  # path and content
Batch = list[File]
IMAGES = "image_bytes"  # input [n] of the signatures
OUTPUTS = ("probabilities", "label", "valid")  # of `serving_default`, [n, classes], [n] and [n]
REASON = "reason"  # output [n], which older exports lack
Outputs = dict[str, list]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Result for one file: the label with its probability and all probabilities, or an error."""

    path: str
    label: str = ""
    probability: float | None = None
    probabilities: tuple[float, ...] = ()
    error: str = ""


def image_files(paths: Sequence[str]) -> list[str]:
    """The files, and the images below the folders, each once.

    Files below a folder that are no images are counted in one line on standard error.

    Raises:
        InputError: a path does not exist, there is no image, or a link leads out of a folder.
    """
    found: dict[str, None] = {}
    for path in paths:
        if os.path.isdir(path):
            files = find_images(path)
            wanted = set(files.predictable)
            found.update(dict.fromkeys(sorted(wanted)))
            others = [(name, kind) for name, kind in files.others if name not in wanted]
            if others:
                print(skipped_line(others, path), file=sys.stderr)
        elif os.path.lexists(path):
            found[path] = None
        else:
            raise InputError(f"{path}: no such file or directory")
    if not found:
        raise InputError(f"{', '.join(paths) or 'no path given'}: no files to predict")
    return list(found)


class Signature:
    """A signature of an exported version, a function from a batch of images to its outputs.

    Raises:
        InputError: a file of the version that must not be read (a FIFO, a huge one), or no such
            signature of images.
        RunError: it can't be loaded.
    """

    def __init__(self, version_dir: str, name: str):
        import tensorflow as tf

        for path in () if is_remote(version_dir) else files_below(version_dir):
            check_file(path, WEIGHT_BYTES)
        try:
            self._model = tf.saved_model.load(version_dir)  # kept, since it owns the variables
            self._function = self._model.signatures.get(name)
        except (OSError, AttributeError, KeyError, ValueError, tf.errors.OpError) as error:
            raise RunError(f"{version_dir}: can't be loaded as a model ({reason(error)})") from None
        inputs = () if self._function is None else self._function.structured_input_signature[1]
        if IMAGES not in inputs or not {*inputs} <= {IMAGES, "filename"}:
            raise InputError(f"{version_dir}: has no signature {name!r} with the input {IMAGES!r}")
        self._input_names = set(inputs)

    def __call__(self, batch: Batch) -> dict[str, Any]:
        """Arrays by name of output, with a row for each file of the batch."""
        import tensorflow as tf

        inputs = signature_inputs(batch, self._input_names).items()
        tensors = self._function(**{name: tf.constant(value, tf.string) for name, value in inputs})
        return {name: tensor.numpy() for name, tensor in tensors.items()}


class ExportedModel:
    """Signature `serving_default` of an exported version. Raises as `Signature`."""

    def __init__(self, version_dir: str):
        self._serve = Signature(version_dir, "serving_default")

    def __call__(self, batch: Batch) -> Iterator[Prediction]:
        """One Prediction for each file of the batch, in order."""
        return batch_predictions(batch, decoded(self._serve(batch)))


@contextlib.contextmanager
def unoptimized_graphs() -> Iterator[None]:
    """Graphs that are first run within the block are not optimized.

    That takes longer than the graph of an export needs for a few images. Probabilities can differ
    in the last digits of float32.
    """
    import tensorflow as tf

    earlier = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": earlier})


def window_of(version_dir: str) -> str | None:
    """The --window of the run that was exported; None without one."""
    path = os.path.join(version_dir, "assets.extra", "config.json")
    try:
        run = parse_json(read_bytes(path), path).get("run", {})
    except OSError:
        return None
    return run.get("window") if isinstance(run, dict) else None


def predict_files(
    version_dir: str, files: Iterable[str], batch_size: int = 32, window: Window | None = None
) -> Iterator[Prediction]:
    """Predictions for the files, in order. Raises RunError if the model can't be loaded."""
    return in_batches(files, ExportedModel(version_dir), batch_size, window)


def in_batches(
    files: Iterable[str],
    predict: Callable[[Batch], Iterable[Prediction]],
    batch_size: int,
    window: Window | None = None,
) -> Iterator[Prediction]:
    """Reads files and predicts them in batches, in the order of the files.

    Args:
        predict: called with a batch, returns one Prediction for each of its files, in order.
        batch_size: largest number of files in a batch, which is also limited by BATCH_BYTES.
        window: of DICOM and 16-bit gray images.
    """
    waiting: list[File | Prediction] = []
    num_bytes = 0
    for path in files:
        try:
            item: File | Prediction = (path, read_image_file(path, window))
        except OSError as error:
            item = Prediction(path, error=reason(error))
        num_bytes += image_size(item)
        if num_bytes > BATCH_BYTES and waiting:
            yield from predict_readable(waiting, predict)
            waiting, num_bytes = [], image_size(item)
        waiting.append(item)
        if len(waiting) == batch_size:
            yield from predict_readable(waiting, predict)
            waiting, num_bytes = [], 0
    yield from predict_readable(waiting, predict)


def predict_readable(
    items: Sequence[File | Prediction], predict: Callable[[Batch], Iterable[Prediction]]
) -> Iterator[Prediction]:
    """Predicts the files among the items, in order; an unreadable file has a Prediction already."""
    batch = [item for item in items if not isinstance(item, Prediction)]
    predictions = iter(predict(batch) if batch else ())
    for item in items:
        yield item if isinstance(item, Prediction) else next(predictions)


def image_size(item: tuple | Prediction) -> int:
    """Number of bytes of a file; 0 if it is unreadable."""
    return 0 if isinstance(item, Prediction) else len(item[1])


def signature_inputs(batch: Batch, input_names: Iterable[str]) -> dict[str, list[bytes]]:
    """Values of the named inputs of `serving_default` for a batch."""
    columns = {
        IMAGES: [content for _, content in batch],
        "filename": [os.fsencode(os.path.basename(path)) for path, _ in batch],
    }
    return {name: columns[name] for name in input_names}


def decoded(arrays: dict[str, Any]) -> Outputs:
    """Outputs from the arrays of `serving_default`, whose texts are bytes."""
    outputs = {name: array.tolist() for name, array in arrays.items()}
    texts = outputs.keys() & {"label", REASON}
    return outputs | {
        name: [text.decode(errors="backslashreplace") for text in outputs[name]] for name in texts
    }


def batch_predictions(batch: Batch, outputs: Outputs) -> Iterator[Prediction]:
    """Predictions for a batch."""
    reasons = outputs.get(REASON, [NO_REASON] * len(batch))
    rows = zip(batch, *(outputs[name] for name in OUTPUTS), reasons, strict=True)
    for (path, _), values, label, is_valid, why in rows:
        if is_valid:
            yield Prediction(path, label, max(values), tuple(values))
        else:
            yield Prediction(path, error=why or NO_REASON)


def write_predictions(
    predictions: Iterable[Prediction], style: str, files: Sequence[str] = ()
) -> int:
    """Prints a `table`, `csv` or `json` lines; returns the number of files without a class.

    Args:
        files: those predicted, of which names that look the same are shown differently.
    """
    failed, names = 0, named_apart(files)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    if style == "csv":
        writer.writerow(["path", "label", "probability", "error"])
    for prediction in predictions:
        failed += bool(prediction.error)
        path = names.get(prediction.path) or visible(prediction.path)
        label, error = visible(prediction.label), visible(prediction.error)
        if style == "json":
            print(json.dumps(dataclasses.asdict(prediction)))
        elif style == "csv":
            probability = "" if prediction.error else f"{prediction.probability:.6f}"
            writer.writerow([path, label, probability, error])
        elif prediction.error:
            print(f"{'-':<16} {'-':>6}  {path}: {error}")
        else:
            print(f"{label:<16} {prediction.probability:6.4f}  {path}")
        sys.stdout.flush()
    return failed
