"""Predictions for image files from an exported model. Needs TensorFlow, but not Keras."""

import csv
import dataclasses
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TextIO

from covid_lm.errors import InputError, RunError

NOT_AN_IMAGE = "not a decodable PNG, JPEG, BMP, GIF or WebP image"

Batch = list[tuple[str, bytes]]  # paths and contents


@dataclasses.dataclass(frozen=True)
class Prediction:
    """Result for one file: the label with its probability and all probabilities, or an error."""

    path: str
    label: str = ""
    probability: float | None = None
    probabilities: tuple[float, ...] = ()
    error: str = ""


def image_files(paths: Sequence[str]) -> list[str]:
    """The given files and all files below the given folders, in order, each once.

    Raises:
        InputError: a path that does not exist, or no file found.
    """
    found: dict[str, None] = {}
    for path in paths:
        if os.path.isdir(path):
            for directory, folders, names in os.walk(path):
                folders.sort()
                found.update((os.path.join(directory, name), None) for name in sorted(names))
        elif os.path.lexists(path):
            found[path] = None
        else:
            raise InputError(f"{path}: no such file or directory")
    if not found:
        raise InputError(f"{', '.join(paths) or 'no path given'}: no files to predict")
    return list(found)


class ExportedModel:
    """Signature `serving_default` of an exported version, in this process.

    Raises:
        RunError: the model can't be loaded.
    """

    def __init__(self, version_dir: str):
        import tensorflow as tf

        try:
            # Kept, since it owns the variables.
            self._model = tf.saved_model.load(version_dir)
            self._serve = self._model.signatures["serving_default"]
        except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
            reason = str(error).splitlines()[0]
            raise RunError(f"{version_dir}: can't be loaded as a model ({reason})") from None
        self._input_names = set(self._serve.structured_input_signature[1])

    def __call__(self, batch: Batch) -> Iterator[Prediction]:
        """One Prediction for each file of the batch, in order."""
        import tensorflow as tf

        inputs = signature_inputs(batch, self._input_names)
        outputs = self._serve(
            **{key: tf.constant(value, tf.string) for key, value in inputs.items()}
        )
        labels = [label.decode() for label in outputs["label"].numpy()]
        return batch_predictions(
            batch, outputs["probabilities"].numpy(), labels, outputs["valid"].numpy()
        )


def predict_files(
    version_dir: str, files: Iterable[str], batch_size: int = 32
) -> Iterator[Prediction]:
    """Predicts file by file, in order; an unreadable file has an error instead of a label.

    Raises:
        RunError: the model can't be loaded.
    """
    yield from in_batches(files, ExportedModel(version_dir), batch_size)


def in_batches(
    files: Iterable[str],
    predict: Callable[[Batch], Iterable[Prediction]],
    batch_size: int,
    batch_bytes: float = math.inf,
) -> Iterator[Prediction]:
    """Reads files and predicts them in batches, in the order of the files.

    Args:
        predict: called with a batch, returns one Prediction for each of its files, in order.
        batch_size: largest number of files in a batch.
        batch_bytes: largest number of bytes in a batch; a larger file is predicted alone.
    """
    waiting: list[Prediction | tuple[str, bytes]] = []  # unreadable files have a Prediction already

    def flush() -> Iterator[Prediction]:
        batch = [item for item in waiting if not isinstance(item, Prediction)]
        predictions = iter(predict(batch) if batch else ())
        for item in waiting:
            yield item if isinstance(item, Prediction) else next(predictions)
        waiting.clear()

    num_bytes = 0
    for path in files:
        item = _read(path)
        size = 0 if isinstance(item, Prediction) else len(item[1])
        if num_bytes and num_bytes + size > batch_bytes:
            yield from flush()
            num_bytes = 0
        waiting.append(item)
        num_bytes += size
        if len(waiting) == batch_size:
            yield from flush()
            num_bytes = 0
    yield from flush()


def _read(path: str) -> Prediction | tuple[str, bytes]:
    try:
        with open(path, "rb") as file:
            return path, file.read()
    except OSError as error:
        return Prediction(path, error=error.strerror or str(error))


def signature_inputs(batch: Batch, input_names: Iterable[str]) -> dict[str, list[bytes]]:
    """Values of the named inputs of `serving_default` for a batch."""
    columns = {
        "image_bytes": [content for _, content in batch],
        "filename": [os.fsencode(os.path.basename(path)) for path, _ in batch],
    }
    return {name: columns[name] for name in input_names}


def batch_predictions(
    batch: Batch,
    probabilities: Iterable[Sequence[float]],
    labels: Iterable[str],
    valid: Iterable[bool],
) -> Iterator[Prediction]:
    """Predictions for a batch, from the outputs of `serving_default`."""
    rows = zip(batch, probabilities, labels, valid, strict=True)
    for (path, content), row, label, is_valid in rows:
        if is_valid:
            values = tuple(float(value) for value in row)
            yield Prediction(path, label, max(values), values)
        else:
            yield Prediction(path, error=NOT_AN_IMAGE if content else "empty file")


def write_predictions(
    predictions: Iterable[Prediction], style: str, file: TextIO = sys.stdout
) -> int:
    """Writes predictions one by one, as `table`, `csv` or `json` (an object per line).

    Returns:
        The number of files without a class.
    """
    failed = 0
    writer = csv.writer(file, lineterminator="\n")
    if style == "csv":
        writer.writerow(["path", "label", "probability", "error"])
    for prediction in predictions:
        failed += bool(prediction.error)
        if style == "json":
            file.write(json.dumps(dataclasses.asdict(prediction)) + "\n")
        elif style == "csv":
            probability = "" if prediction.error else f"{prediction.probability:.6f}"
            writer.writerow([prediction.path, prediction.label, probability, prediction.error])
        elif prediction.error:
            file.write(f"{'-':<16} {'-':>6}  {prediction.path}: {prediction.error}\n")
        else:
            file.write(f"{prediction.label:<16} {prediction.probability:6.4f}  {prediction.path}\n")
        file.flush()
    return failed
