"""The record of a run: small enough to be kept with the code, and all that the tables need."""

import numpy as np

from covid_lm.evaluation.protocols import Evaluation

# Of a run's options, those that a reader compares by.
_OPTIONS = ("dataset", "backbone", "protocol", "layout", "image_size", "dtype", "seed")
_OPTIONS += ("recipe", "augment", "schedule", "views")
_OPTIONS += ("batch_size", "learning_rate", "early_stopping", "command", "date")


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
        `name`, the run's options, `weights` ("pretrained" or "random"), `seconds` that it took,
        `machine`, `epochs` (its log), `split`, `classes`, `protocols`, `name_alone`, `floors` (rows
        without their reliability bins), and `hits`: a digit per image of the split in its order, 1
        where the run's own protocol got it right.
    """
    options = run["config"]["run"]
    rows = {key: metrics[key] for key in ("protocols", "floors") if key in metrics}
    return {
        "name": run["name"],
        **{key: options.get(key) for key in _OPTIONS},
        "weights": "pretrained" if options.get("weights") else "random",
        "seconds": run["metrics"].get("seconds"),
        "machine": _machine(options.get("machine")),
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


def _machine(machine: dict | None) -> str | None:
    if machine is None:
        return None
    return f"{machine['cores']} cores of {machine['processor']}"
