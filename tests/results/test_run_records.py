"""Records of runs, cross-validations and pre-training runs: their content and their reader."""

import json

import numpy as np
import pytest

from covid_lm.data.records import ImageRecord
from covid_lm.errors import InputError
from covid_lm.evaluation.protocol_metrics import Evaluation
from covid_lm.pipeline.decoded import DecodedRecords
from covid_lm.results.run_records import (
    cross_validation_record,
    pretraining_record,
    read_records,
    run_record,
)
from tests.results.examples import COMMIT, cross_validation_report, write_pretraining_run

METRICS = {
    "split": "test",
    "classes": ["a", "b"],
    "protocols": {"masked": {"accuracy": 2 / 3, "reliability": []}},
    "name_alone": {"accuracy": 0.5},
}


def record_of(weights: str | None) -> dict:
    images = tuple(ImageRecord(f"{i}.png", i % 2, "test", f"{i}.png", bytes) for i in range(3))
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]], np.float32)
    pixels = np.zeros((3, 1, 1, 1), np.uint8)
    evaluation = Evaluation({}, {"masked": probabilities}, DecodedRecords(pixels, images))
    options = {"weights": weights, "training_images": "12, 0a1b2c", "seed": 4, "commit": COMMIT}
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
def test_origin_of_the_weights(tmp_path, config, expected):
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
    assert record["commit"] == COMMIT


def test_a_cross_validation_without_its_predictions_and_folders():
    record = cross_validation_record(cross_validation_report("--learning_rate=0.0003", 0.7, 0.6))
    assert record.keys() == {
        *("dataset", "command", "commit", "classes", "images", "patients", "folds", "folds_done"),
        *("epochs", "weights", "machine", "date", "backbone", "layout", "image_size"),
        *("learning_rate", "label_smoothing", "weight_decay", "recipe", "augment", "mix", "ema"),
        *("optimizer", "schedule", "frozen"),
    }
    assert (record["weights"], record["machine"]) == ("random", "2 cores of a processor")
    assert record["commit"] == COMMIT


def test_a_pretraining_run(tmp_path):
    record = pretraining_record(write_pretraining_run(tmp_path / "some"))
    assert (record["name"], record["weights"], record["layout"]) == ("some", "random", "gray22")
    assert [line["val"]["loss"] for line in record["epochs"]] == [4.5, 4.0]
    assert (record["command"], record["commit"]) == ("python tools/pretrain.py --epochs=2", COMMIT)


def test_an_unfinished_pretraining_run_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--pretraining=.*: no finished pre-training run"):
        pretraining_record(str(tmp_path))


def test_reading_records(tmp_path):
    with pytest.raises(InputError, match=r"--records=.*: no records; make one with tools/eval"):
        read_records(str(tmp_path))
    with pytest.raises(InputError, match="No such file or directory"):
        read_records(str(tmp_path / "none"))
    (tmp_path / "a.json").write_text('{"command": "x", "protocols": {}}')
    assert read_records(str(tmp_path)) == [{"command": "x", "protocols": {}}]
    (tmp_path / "b.json").write_text('{"command": "x"}')
    assert len(read_records(str(tmp_path), ("command",))) == 2
    with pytest.raises(InputError, match=r"b\.json: not a record \('protocols' is missing\)$"):
        read_records(str(tmp_path))
    (tmp_path / "b.json").write_text("[1]")
    with pytest.raises(InputError, match=r"b\.json: not a record \("):
        read_records(str(tmp_path))
