"""Small records of every kind."""

import dataclasses
import json
import pathlib

import numpy as np

from covid_lm.evaluation.metrics import classification_metrics
from covid_lm.training.options import TrainingOptions

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def row(right: str, policy: str) -> dict:
    """Metrics of one image per digit, of class 0 and 1 in turn; 1 means classified correctly."""
    labels = np.arange(len(right)) % 2
    answers = np.where(np.array(list(right)) == "1", labels, 1 - labels)
    metrics = classification_metrics(np.eye(2)[answers], labels, ("no", "yes"))
    return {"training_policy": policy, "test_policy": policy, **metrics}


def run_record(name: str, right: str = "11110000", **changes) -> dict:
    """The record of a training run."""
    protocol = changes.get("protocol", "fixed")
    values = {
        "name": name,
        "dataset": "covid_ct",
        "backbone": "minilm-l6",
        "protocol": protocol,
        "layout": "paper",
        "image_size": None,
        "weights": "pretrained",
        "seed": 0,
        "batch_size": 16,
        "early_stopping": "val",
        "command": f"python tools/train.py --name={name}",
        "commit": COMMIT,
        "date": "2026-11-23",
        "seconds": 120.0,
        "images": 1425,
        "machine": "2 cores of a processor",
        "epochs": [{"epoch": 1, "val_accuracy": 0.5}, {"epoch": 2, "val_accuracy": 0.75}],
        "protocols": {protocol: row(right, "masked" if protocol == "paper" else protocol)},
        "name_alone": row("1" * len(right), "name"),
        "hits": right,
    }
    return values | changes


def cross_validation_report(flags: str, *losses: float, **options) -> dict:
    """A report of `cross_validate` with these log losses by epoch, and options."""
    rows = [
        {
            "epoch": epoch,
            "n": 20,
            "accuracy": 0.5 + 0.01 * epoch,
            "ci95": [0.4, 0.6],
            "auc": 0.6 + 0.01 * epoch,
            "auc_ci95": [0.5, 0.75],
            "log_loss": loss,
        }
        for epoch, loss in enumerate(losses, 1)
    ]
    return {
        "dataset": "covid_ct",
        "command": f"python tools/cross_validate.py --backbone=2x128 {flags} --folds=5",
        "commit": COMMIT,
        "run": dataclasses.asdict(TrainingOptions(backbone="2x128", **options)),
        "machine": {"cores": 2, "processor": "a processor", "python": "3.11"},
        "classes": ["no", "yes"],
        "images": 30,
        "patients": 10,
        "folds": 5,
        "folds_done": 3,
        "epochs": rows,
        "by_fold": [],
        "out_of_fold": [],
    }


def _figures(loss: float) -> dict:
    return {"loss": loss, "perplexity": 2.0**loss, "accuracy": 0.125}


def write_pretraining_run(model_dir: pathlib.Path) -> str:
    """Write the files of a finished pre-training run, and return `model_dir`."""
    metrics = {
        "datasets": ["folder", "phantom"],
        "images": {"train": 2000, "val": 100},
        "words": 314,
        "trivial_predictors": {"val": {"unigram": _figures(5.5)}},
        "epochs": [
            {"epoch": 1, "seconds": 60.0, "train": _figures(5.0), "val": _figures(4.5)},
            {"epoch": 2, "seconds": 90.0, "train": _figures(4.0), "val": _figures(4.0)},
        ],
        "command": "python tools/pretrain.py --epochs=2",
        "commit": COMMIT,
        "date": "2026-11-23",
        "machine": "2 cores of a processor",
    }
    options = {"backbone": "2x128", "layout": "gray22", "protocol": "fixed", "weights": None}
    run = model_dir / "run"
    run.mkdir(parents=True)
    config = {"pretraining": options, "sequences": {}}
    (run / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (run / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    return str(model_dir)
