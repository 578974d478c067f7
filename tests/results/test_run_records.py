"""The record of a run: where its weights came from."""

import json

import numpy as np
import pytest

from covid_lm.data.records import ImageRecord
from covid_lm.evaluation.protocol_metrics import Evaluation
from covid_lm.results.run_records import run_record

METRICS = {
    "split": "test",
    "classes": ["a", "b"],
    "protocols": {"masked": {"accuracy": 2 / 3, "reliability": []}},
    "name_alone": {"accuracy": 0.5},
}


def record_of(weights: str | None) -> dict:
    images = tuple(ImageRecord(f"{i}.png", i % 2, "test", f"{i}.png", bytes) for i in range(3))
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]], np.float32)
    evaluation = Evaluation({}, {"masked": probabilities}, images, ())
    options = {"weights": weights, "training_images": "12, of them 3 to stop by", "seed": 4}
    run = {"name": "n", "config": {"run": options}, "metrics": {}, "epochs": []}
    return run_record(run, METRICS, evaluation)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, "pretrained"),
        ("damaged", "pretrained"),
        (json.dumps({"classifier": {}, "run": {}}), "pretrained"),
        (json.dumps({"classifier": {}, "run": {"dataset": "cifar10"}}), "cifar10"),
        (json.dumps({"pretraining": {}, "sequences": {}}), "masked-token"),
    ],
)
def test_where_weights_are_from(tmp_path, config, expected):
    if config is not None:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "config.json").write_text(config)
    assert record_of(str(tmp_path / "weights"))["weights"] == expected


def test_a_run_from_random_weights():
    record = record_of(None)
    assert record["weights"] == "random"
    assert record["hits"] == "101"
    assert record["protocols"] == {"masked": {"accuracy": 0.666667}}
    assert (record["images"], record["seed"], record["backbone"]) == (12, 4, None)
