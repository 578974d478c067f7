"""The record of a run: small enough to be kept with the code, and all that the tables need."""

import json
import os

import numpy as np

from covid_lm.environment import machine_line
from covid_lm.evaluation.protocol_metrics import Evaluation
from covid_lm.files import read_bytes

# Of a run's options, those that a reader compares by.
_OPTIONS = (
    *("dataset", "backbone", "protocol", "layout", "image_size", "dtype", "seed"),
    *("batch_size", "learning_rate", "early_stopping", "command", "commit", "date"),
    *("recipe", "augment", "schedule"),
)


def hits(evaluation: Evaluation) -> np.ndarray:
    """Whether the run's own protocol got each image right, bool [images]."""
    labels = np.array([record.label for record in evaluation.records])
    return np.argmax(evaluation.own_probabilities, axis=1) == labels


def run_record(run: dict, metrics: dict, evaluation: Evaluation) -> dict:
    """What stays of a run when its weights are gone.

    Args:
        run: `run_directory.read_run` of it.
        metrics: `split_metrics` of it, with `floors` where there are.
        evaluation: of the same split.

    Returns:
        `name`, the run's options, `weights` (`weights_origin`), `seconds` that it took,
        `machine`, `images` that it was trained on, `epochs` (its log), `split`, `classes`,
        `protocols`, `name_alone`, `floors` and `lesion_place` (rows without their reliability
        bins), and `hits`: a digit per image of the split in its order, 1 where the run's own
        protocol got it right.
    """
    options = run["config"]["run"]
    rows = {key: metrics[key] for key in ("protocols", "floors", "lesion_place") if key in metrics}
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
        **{key: {name: _lean(row) for name, row in rows[key].items()} for key in rows},
        "name_alone": _lean(metrics["name_alone"]),
        "hits": "".join("1" if hit else "0" for hit in hits(evaluation)),
    }


def _lean(row: dict) -> dict:
    return {
        key: round(value, 6) if isinstance(value, float) else value
        for key, value in row.items()
        if key != "reliability"
    }


def weights_origin(directory: str | None) -> str:
    """Where the weights that a run began with are from, in a word.

    Returns:
        "random", "pretrained", "masked-token" where `tools/pretrain.py` made them, or the name of
        the data set where `tools/export.py --encoder` took them from a run into that run's folder.
    """
    if directory is None:
        return "random"
    run_dir = os.path.join(os.path.dirname(os.path.abspath(directory)), "run")
    try:
        config = json.loads(read_bytes(os.path.join(run_dir, "config.json")))
    except (OSError, ValueError):
        return "pretrained"
    if "pretraining" in config:
        return "masked-token"
    return config.get("run", {}).get("dataset", "pretrained")
