"""Records of pre-training: what they hold, and what is shown of them."""

import json

import pytest

from covid_lm.errors import InputError
from covid_lm.results.pretraining_results import (
    pretraining_commands,
    pretraining_figure,
    pretraining_record,
    pretraining_table,
)
from covid_lm.training.options import PretrainingOptions


def figures(loss: float) -> dict:
    return {"loss": loss, "perplexity": 2.0**loss, "accuracy": 0.125}


METRICS = {
    "datasets": ["folder", "phantom"],
    "images": {"train": 2000, "val": 100},
    "words": 314,
    "trivial_predictors": {"val": {"unigram": figures(5.5), "copy_left": figures(5.25)}},
    "epochs": [
        {"epoch": 1, "seconds": 60.0, "train": figures(5.0), "val": figures(4.5)},
        {"epoch": 2, "seconds": 90.0, "train": figures(4.0), "val": figures(4.0)},
    ],
    "command": "python tools/pretrain.py --epochs=2",
    "date": "2026-11-23",
    "machine": "2 cores of a processor",
}
TOLD = {"backbone": "2x128", "layout": "gray22", "protocol": "fixed", "weights": None}


@pytest.fixture
def model_dir(tmp_path):
    run = tmp_path / "some" / "run"
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"pretraining": TOLD, "sequences": {}}))
    (run / "metrics.json").write_text(json.dumps(METRICS))
    return str(tmp_path / "some")


def test_a_record_is_told_and_measured(model_dir):
    record = pretraining_record(model_dir)
    assert (record["name"], record["weights"], record["layout"]) == ("some", "random", "gray22")
    assert record["epochs"] == METRICS["epochs"]
    assert record["command"] == METRICS["command"]


def test_what_is_no_finished_pretraining_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--pretraining=.*: no finished pre-training run"):
        pretraining_record(str(tmp_path))


def test_table_and_commands(model_dir):
    records = [pretraining_record(model_dir)]
    assert pretraining_table(records).splitlines()[2] == (
        "| 2x128, from random weights | gray22 | 2,000 | 2 | 2 | 4.500, 4.000 | 16.0 | 12.5% | "
        "5.500 | 5.250 |"
    )
    assert pretraining_commands(records) == (
        "- 2x128, from random weights, gray22 (2026-11-23, 2 cores of a processor): "
        "`python tools/pretrain.py --epochs=2`"
    )


def test_the_figure_holds_a_curve_for_every_run(model_dir, tmp_path):
    path = tmp_path / "curves.svg"
    pretraining_figure([pretraining_record(model_dir)], str(path))
    assert path.read_text(encoding="utf-8").startswith("<?xml")
    with pytest.raises(ValueError, match="Format 'none' is not supported"):
        pretraining_figure([pretraining_record(model_dir)], str(tmp_path / "curves.none"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curves.svg", "some"]


def test_the_command_names_no_place_of_the_machine():
    options = PretrainingOptions(
        datasets=("folder", "phantom"),
        data_dirs=("/images",),
        weights="/weights",
        epochs=2,
        skip_invalid=True,
        name="some",
        output_dir="/out",
    )
    assert options.command == (
        "python tools/pretrain.py --dataset=folder --dataset=phantom --data_dir=DIR "
        "--weights=WEIGHTS_DIR --epochs=2 --skip_invalid"
    )
