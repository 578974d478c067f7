"""Records of finished runs: small JSON files with everything that the result tables need."""

import datetime
import os
from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from covid_lm.backbones.weights.hub import repository_of
from covid_lm.backbones.weights.shipped import SHIPPED
from covid_lm.environment import machine_line
from covid_lm.errors import InputError, UnusableFile
from covid_lm.files import read_json

if TYPE_CHECKING:  # tables need no TensorFlow
    from covid_lm.evaluation.protocol_metrics import Evaluation

# Options of a run that readers compare, and keys of the other kinds of records.
_OPTIONS = (
    *("dataset", "backbone", "protocol", "layout", "image_size", "dtype", "seed"),
    *("batch_size", "learning_rate", "early_stopping", "command", "commit", "date"),
    *("recipe", "augment", "mix", "ema", "optimizer", "schedule", "frozen"),
)
_CROSS_VALIDATION = (
    *("dataset", "command", "commit", "classes", "images", "patients", "folds", "folds_done"),
    "epochs",
)
_CROSS_VALIDATION_OPTIONS = (
    *("backbone", "layout", "image_size", "learning_rate", "label_smoothing", "weight_decay"),
    *("recipe", "augment", "mix", "ema", "optimizer", "schedule", "frozen"),
)
_PRETRAINING = (
    *("backbone", "layout", "protocol", "max_images", "batch_size", "learning_rate"),
    *("optimizer", "dtype"),
)


def hits(evaluation: "Evaluation") -> np.ndarray:
    """True where the run's own protocol classifies an image correctly, bool [images]."""
    labels = np.array([record.label for record in evaluation.records])
    return np.argmax(evaluation.own_probabilities, axis=1) == labels


def run_record(run: dict, metrics: dict, evaluation: "Evaluation") -> dict:
    """Make the record of a training run.

    Args:
        run: the run's files, from `run_directory.read_run`.
        metrics: `split_metrics` of the evaluation, with the rows of baselines (`floors`) if any.

    Returns:
        `name`, the run's options, `weights` (`weights_origin`), `images` that it was trained on,
        `seconds` that it took, `machine`, `epochs` (its log), `split`, `classes`, `protocols`,
        `floors` and `name_alone` (rows without their reliability bins), `factors` (figures by
        factor, if there are any), and `hits`: one digit per image of the split, in order, 1 where
        the run's own protocol is correct.
    """
    options = run["config"]["run"]
    rows = {
        key: {name: _rounded(row) for name, row in metrics[key].items()}
        for key in ("protocols", "floors")
        if key in metrics
    }
    factors = {"factors": metrics["factors"]} if "factors" in metrics else {}
    return {
        "name": run["name"],
        **{key: options.get(key) for key in _OPTIONS},
        "weights": weights_origin(options.get("weights")),
        "images": int((options.get("training_images") or "0").split(",")[0]) or None,
        "seconds": run["metrics"].get("seconds"),
        "machine": options.get("machine") and machine_line(options["machine"]),
        "epochs": run["epochs"],
        "split": metrics["split"],
        "classes": metrics["classes"],
        **rows,
        **factors,
        "name_alone": _rounded(metrics["name_alone"] or {}),
        "hits": "".join("1" if hit else "0" for hit in hits(evaluation)),
    }


def _rounded(row: dict) -> dict:
    return {
        key: round(value, 6) if isinstance(value, float) else value
        for key, value in row.items()
        if key != "reliability"
    }


def cross_validation_record(report: dict) -> dict:
    """Make the record of a report of `cross_validate`: its figures by epoch, no predictions."""
    return {
        **{key: report[key] for key in _CROSS_VALIDATION},
        **{key: report["run"].get(key) for key in _CROSS_VALIDATION_OPTIONS},
        "weights": weights_origin(report["run"]["weights"]),
        "machine": machine_line(report["machine"]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def pretraining_record(model_dir: str) -> dict:
    """Make the record of the finished pre-training run in `saved_models/NAME`.

    Returns:
        `name`, the run's options, `weights` at the start ("random" or "pretrained"), and the
        content of its `metrics.json`.

    Raises:
        InputError: no finished pre-training run there.
    """
    run_dir = os.path.join(model_dir, "run")
    try:
        options = read_json(os.path.join(run_dir, "config.json"))["pretraining"]
        metrics = read_json(os.path.join(run_dir, "metrics.json"))
        return {
            "name": os.path.basename(os.path.normpath(model_dir)),
            **{key: options.get(key) for key in _PRETRAINING},
            "weights": "random" if options["weights"] is None else "pretrained",
            **dict.fromkeys(("command", "commit", "date", "machine")),
            **metrics,
        }
    except (OSError, ValueError, KeyError) as error:
        message = f"--pretraining={model_dir}: no finished pre-training run ({error})"
        raise InputError(message) from None


def weights_origin(directory: str | None) -> str:
    """The origin of a run's initial weights: "random", "pretrained", "shipped" or another word.

    "masked-token", "masked-byte" or "teacher" if `tools/pretrain.py` made them; the name of the
    data set if `tools/export.py --encoder` took them from a run into that run's folder; the
    repository of weights by name.
    """
    if repository := repository_of(directory):
        return repository
    if directory in (None, SHIPPED):
        return directory or "random"
    run_dir = os.path.join(os.path.dirname(os.path.abspath(directory)), "run")
    try:
        config = read_json(os.path.join(run_dir, "config.json"))
    except OSError:
        return "pretrained"
    if "pretraining" in config:
        objective = config["pretraining"].get("objective", "words")
        return {"words": "masked-token", "bytes": "masked-byte"}.get(objective, objective)
    return config.get("run", {}).get("dataset", "pretrained")


def read_records(directory: str, keys: Collection[str] = ("protocols", "command")) -> list[dict]:
    """Read the records in a folder, by file name; by default those of training runs.

    Raises:
        InputError: no records there, or a file that is not an object with these keys.
    """
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".json"))
    except OSError as error:
        raise InputError(f"--records={directory}: {error.strerror}") from None
    if not names:
        message = "no records; make one with tools/evaluate.py --record"
        raise InputError(f"--records={directory}: {message}")
    records = []
    for path in (os.path.join(directory, name) for name in names):
        try:
            record = read_json(path)
        except UnusableFile as error:
            raise InputError(f"{path}: not a record ({error.strerror})") from None
        for key in keys:
            if key not in record:
                raise InputError(f"{path}: not a record ({key!r} is missing)")
        records.append(record)
    return records
