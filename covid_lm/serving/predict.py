"""Classes for image files, from an exported model. Needs TensorFlow, not Keras."""

import csv
import dataclasses
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

from covid_lm.errors import InputError, RunError

NOT_AN_IMAGE = "not a decodable PNG, JPEG, BMP, GIF or WebP image"
FORMATS = ("table", "csv", "json")


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


def predict_files(
    version_dir: str, files: Iterable[str], batch_size: int = 32
) -> Iterator[Prediction]:
    """Predicts file by file, in order; unreadable ones yield an error instead of a class.

    Raises:
        RunError: the model can't be loaded.
    """
    import tensorflow as tf

    try:
        model = tf.saved_model.load(version_dir)
        serve = model.signatures["serving_default"]
    except (OSError, KeyError, ValueError, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0]
        raise RunError(f"{version_dir}: can't be loaded as a model ({reason})") from None
    input_names = set(serve.structured_input_signature[1])

    def answer(batch: list[tuple[str, bytes]]) -> Iterator[Prediction]:
        names = [os.fsencode(os.path.basename(path)) for path, _ in batch]
        inputs = {
            "image_bytes": tf.constant([content for _, content in batch], tf.string),
            "filename": tf.constant(names, tf.string),
        }
        outputs = serve(**{name: inputs[name] for name in input_names})
        columns = [outputs[key].numpy() for key in ("probabilities", "label", "valid")]
        for (path, _), row, label, valid in zip(batch, *columns, strict=True):
            yield _prediction(path, row, label.decode(), bool(valid))

    yield from _in_batches(files, answer, batch_size)


def _in_batches(files: Iterable[str], answer, batch_size: int) -> Iterator[Prediction]:
    """Reads files and answers them in batches, keeping the order across unreadable ones."""
    batch: list[tuple[str, bytes]] = []
    waiting: list[str | Prediction] = []

    def flush() -> Iterator[Prediction]:
        answers = {p.path: p for p in answer(batch)} if batch else {}
        for item in waiting:
            yield item if isinstance(item, Prediction) else answers[item]
        batch.clear()
        waiting.clear()

    for path in files:
        try:
            with open(path, "rb") as file:
                batch.append((path, file.read()))
            waiting.append(path)
        except OSError as error:
            waiting.append(Prediction(path, error=error.strerror or str(error)))
        if len(waiting) == batch_size:
            yield from flush()
    yield from flush()


def _prediction(path: str, row: Sequence[float], label: str, valid: bool) -> Prediction:
    if not valid:
        empty = os.path.getsize(path) == 0
        return Prediction(path, error="empty file" if empty else NOT_AN_IMAGE)
    probabilities = tuple(float(value) for value in row)
    return Prediction(path, label, max(probabilities), probabilities)


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
