"""Classes for image files, from an exported model. Needs TensorFlow, not Keras."""

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
FORMATS = ("table", "csv", "json")

Batch = list[tuple[str, bytes]]  # a file's path and its content


@dataclasses.dataclass(frozen=True)
class Prediction:
    """One file's answer: label, its probability and all probabilities, or why there is none."""

    path: str
    label: str = ""
    probability: float | None = None
    probabilities: tuple[float, ...] = ()
    error: str = ""


def image_files(paths: Sequence[str]) -> list[str]:
    """Every file named, and every file below the folders named, once, in order.

    Raises:
        InputError: a path that does not exist, or nothing found.
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
    """The `serving_default` of an exported version, in this process.

    Raises:
        RunError: the model can't be loaded.
    """

    def __init__(self, version_dir: str):
        import tensorflow as tf

        try:
            # Kept, since its variables live no longer than it does.
            self._model = tf.saved_model.load(version_dir)
            self._serve = self._model.signatures["serving_default"]
        except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
            reason = str(error).splitlines()[0]
            raise RunError(f"{version_dir}: can't be loaded as a model ({reason})") from None
        self._input_names = set(self._serve.structured_input_signature[1])

    def __call__(self, batch: Batch) -> Iterator[Prediction]:
        """One Prediction for each of the batch's files, in order."""
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
    """Predicts file by file, in order; unreadable ones yield an error instead of a class.

    Raises:
        RunError: the model can't be loaded.
    """
    yield from in_batches(files, ExportedModel(version_dir), batch_size)


def in_batches(
    files: Iterable[str],
    answer: Callable[[Batch], Iterable[Prediction]],
    batch_size: int,
    batch_bytes: float = math.inf,
) -> Iterator[Prediction]:
    """Reads files and answers them in batches, keeping the order across unreadable ones.

    Args:
        answer: a batch to one Prediction for each of its files, in order.
        batch_size: files in a batch, at most.
        batch_bytes: bytes in a batch, at most; a larger file goes alone.
    """
    batch: Batch = []
    waiting: list[Prediction | None] = []  # None: the next of the batch's answers

    def flush() -> Iterator[Prediction]:
        answers = iter(answer(batch) if batch else ())
        for unreadable in waiting:
            yield unreadable or next(answers)
        batch.clear()
        waiting.clear()

    for path in files:
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError as error:
            waiting.append(Prediction(path, error=error.strerror or str(error)))
        else:
            if batch and sum(len(c) for _, c in batch) + len(content) > batch_bytes:
                yield from flush()
            batch.append((path, content))
            waiting.append(None)
        if len(waiting) == batch_size:
            yield from flush()
    yield from flush()


def signature_inputs(batch: Batch, input_names: Iterable[str]) -> dict[str, list[bytes]]:
    """What `serving_default` takes for a batch: those of its possible inputs that it names."""
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
    """A batch's Predictions, from what `serving_default` answered."""
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
    """Writes predictions as they come, as `table`, `csv` or `json` (one object a line).

    Returns:
        How many files had no answer.
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
