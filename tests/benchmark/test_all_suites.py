"""The README's table of speeds, from results made by hand."""

import importlib

from covid_lm.benchmark import SUITES, all_suites
from covid_lm.benchmark.all_suites import SHORTER, comparison_table
from covid_lm.benchmark.cases import Options


def contender(seconds: float) -> dict:
    return {"seconds": [seconds] * 3, "calls": [[seconds]] * 3, "peak_bytes": 1_500_000_000}


ENCODER = {
    "suite": "encoder",
    "notes": ["a note"],
    "cases": [
        {
            "backbone": "tiny",
            "dtype": "float32",
            "batch_size": 8,
            "contenders": {"covid_lm": contender(0.5), "hugging_face": contender(1.0)},
            "figures": {
                "hugging_face": {"median": 2.0, "low": 1.5, "high": 2.25},
                "ceiling": {"median": 0.8, "low": 0.75, "high": 0.85},
            },
            "targets": [{"rival": "hugging_face", "minimum": 2.5, "reached": 2.0, "met": False}],
        }
    ],
}
SERVING = {
    "suite": "serving",
    "notes": ["a note"],
    "cases": [
        {
            "title": "tiny 4 callers",
            "backbone": "tiny",
            "dtype": "float32",
            "batch_size": 1,
            "contenders": {"export": contender(0.5)},
            "latencies": {"export": {"p50": 0.25, "p99": 0.5, "calls": 40}},
            "figures": {"pillow_hf": {"median": 1.25, "low": 1.0, "high": 1.5}},
        }
    ],
}


def test_a_row_for_every_rival():
    assert comparison_table([ENCODER, SERVING]).splitlines()[2:] == [
        "| encoder | tiny float32 batch 8 | 16.00 | 1.50 | hugging_face | 2.00 [1.50, 2.25] | "
        "2.5, missed |",
        "|  |  |  |  | ceiling | 80% of it [75%, 85%] |  |",
        "| serving | tiny 4 callers | p50 250 ms, p99 500 ms | 1.50 | pillow_hf | "
        "1.25 [1.00, 1.50] |  |",
    ]


def test_every_suite_is_run_shorter_and_told_where_the_data_lies(monkeypatch):
    told = []

    class Suite:
        def __init__(self, name):
            self.name = name.rsplit(".", 1)[1]

        def run(self, options):
            told.append((self.name, options))
            if self.name == "scale":
                return {"suite": "scale", "notes": [], "cases": [], "tables": ["of scale"]}
            return ENCODER

    monkeypatch.setattr(all_suites.importlib, "import_module", Suite)
    result = all_suites.run(Options(data_dir="DIR", threads=1))
    monkeypatch.undo()
    assert [name for name, _ in told] == [name for name, _ in SHORTER]
    assert {options.data_dir for _, options in told} == {"DIR"}
    assert [o.tasks for name, o in told if name == "training"] == [("training",), ("pretraining",)]
    assert told[0][1].rounds == 3
    assert result["notes"] == ["a note"]
    assert result["tables"][1:] == ["of scale"]
    assert all(hasattr(importlib.import_module(SUITES[suite]), "run") for suite, _ in SHORTER)
