"""Every suite with canned turns for its processes: who takes turns, and what is reported."""

import contextlib

import pytest

from covid_lm.backbones.configs import backbone_config, exact_flops
from covid_lm.benchmark import encoder, preprocessing, rounds, scale, serving, training
from covid_lm.benchmark.cases import Case, Options
from covid_lm.benchmark.contenders import PRODUCT_FLOPS
from covid_lm.benchmark.speed_tables import table

SECONDS = {
    **{"covid_lm": 0.5, "keras_hub": 1.0, "hugging_face": 0.75},
    **{"covid_lm_mlm": 0.5, "hugging_face_mlm": 2.0, "hf_mlm_tuned": 1.0},
    **{"tensorflow_product": 0.25, "torch_product": 0.125},
    **{"export": 0.5, "map_fn": 0.25, "pillow_hf": 1.0, "pillow_hf_tuned": 0.5},
}
OPTIONS = Options(backbones=("rbt3",), batch_sizes=(8,), dtypes=("float32",), rounds=2)


@pytest.fixture
def turns(monkeypatch) -> list[str]:
    """Workers whose second turn takes twice as long; the contenders in the order of their turns."""
    taken: list[str] = []

    class Worker:
        def __init__(self, contender: str, case: Case):
            self.contender, self.case, self.number = contender, case, 0
            self.state = "started"

        def built(self):
            self.state = "built"

        def warm_up(self):
            assert self.state == "built"
            self.state = "warm"

        def turn(self) -> dict:
            assert self.state == "warm"
            taken.append(self.contender)
            self.number += 1
            seconds = SECONDS[self.contender] * self.number
            calls = [seconds] * self.case.calls
            return {"seconds": seconds, "calls": calls, "peak_bytes": self.number * 10**9}

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            self.state = "ended"

    monkeypatch.setattr(rounds, "Worker", Worker)
    monkeypatch.setattr(rounds, "NEEDS", {})  # all rivals are installed
    return taken


def shown(result: dict, load: float = 0.0) -> list[str]:
    return table({"machine": {"load_average": load}, **result}).splitlines()


def test_every_round_begins_with_the_next_contender(turns, capsys):
    case = Case("inference", "rbt3", "float32", 8, threads=2)
    found = rounds.measure(case, ("covid_lm", "keras_hub"), rounds=3, label="[1/1] ")
    assert turns == ["covid_lm", "keras_hub", "keras_hub", "covid_lm", "covid_lm", "keras_hub"]
    assert found["keras_hub"]["seconds"] == [1.0, 2.0, 3.0]
    assert found["covid_lm"]["peak_bytes"] == 3 * 10**9
    assert (
        capsys.readouterr()
        .out.splitlines()[0]
        .endswith("round 1/3: covid_lm 0.500 s, keras_hub 1.000 s")
    )


def test_the_encoder_beside_libraries_and_ceiling(turns):
    result = encoder.run(OPTIONS)
    lines = shown(result, load=0.75)
    assert lines[2:5] == [
        "rbt3 float32 batch 8        covid_lm          10.67     2.00",
        "                            keras_hub          5.33     2.00   2.00 times [2.00, 2.00] as "
        "fast",
        "                            hugging_face       7.11     2.00   1.50 times [1.50, 1.50] as "
        "fast",
    ]
    share = exact_flops(backbone_config("rbt3"), 512) * 8 / 0.5 / (PRODUCT_FLOPS / 0.125)
    assert result["cases"][0]["figures"]["ceiling"]["median"] == pytest.approx(share)
    assert lines[6:9] == [
        "                            target 2 against hugging_face: 1.50, MISSED",
        "                            target 2.8 against keras_hub: 2.00, MISSED",
        f"                            target 0.8 against ceiling: {share:.2f}, "
        f"{'met' if share >= 0.8 else 'MISSED'}",
    ]
    assert lines[9].startswith("not a quiet machine: load average 0.8 at the start.")


def test_training_has_its_own_rivals_for_masked_tokens(turns):
    result = training.run(OPTIONS)
    assert [list(case["contenders"]) for case in result["cases"]] == [
        ["covid_lm", "keras_hub", "hugging_face"],
        ["covid_lm_mlm", "hugging_face_mlm", "hf_mlm_tuned"],
    ]
    met = [target for case in result["cases"] for target in case["targets"]]
    assert [(t["rival"], t["reached"], t["met"]) for t in met] == [
        ("hugging_face", 1.5, False),
        ("hugging_face_mlm", 4.0, True),
    ]


@pytest.fixture
def no_material(monkeypatch):
    @contextlib.contextmanager
    def nothing(*_):
        yield "nowhere", "32 images of nothing"

    for suite in (preprocessing, serving):
        monkeypatch.setattr(suite, "raw_images", nothing)


def test_preprocessing_counts_images(turns, no_material):
    lines = shown(preprocessing.run(OPTIONS))
    assert lines[1].split() == ["images/s", "peak", "GB", "covid_lm", "is"]
    rate = 32 / 0.75  # the median of two turns; a step has all 32 images
    assert lines[2] == f"batch 8                     export          {rate:>7.2f}     2.00"
    assert lines[5].endswith("0.50 times [0.50, 0.50] as fast")
    assert lines[6:] == [
        "                            target 3 against pillow_hf: 2.00, MISSED",
        "32 images of nothing",
    ]


def test_serving_shows_the_latency_of_all_rounds_calls(turns, no_material):
    result = serving.run(OPTIONS)
    throughput, latency = result["cases"]
    assert throughput["targets"] == [
        {"rival": "pillow_hf", "minimum": 2.0, "reached": 2.0, "met": True}
    ]
    assert latency["latencies"]["export"] == {"p50": 0.75, "p99": 1.0, "calls": 80}
    assert shown(result)[7:9] == [
        "rbt3 float32 4 callers      export           p50 750 ms, p99 1000 ms of 80 calls",
        "                            pillow_hf        p50 1500 ms, p99 2000 ms of 80 calls   "
        "2.00 times [2.00, 2.00] as fast at p50",
    ]


def test_scale_starts_a_few_at_a_time_and_subtracts_an_idle_process(turns, monkeypatch):
    monkeypatch.setattr(scale, "STARTED_AT_ONCE", 3)
    result = scale.run(Options(backbones=("tiny",), batch_sizes=(8,), rounds=1))
    assert [(case["task"], case["dtype"]) for case in result["cases"]] == [
        *(("inference", "float32"), ("inference", "bfloat16")),
        *(("training", "float32"), ("training", "bfloat16")),
    ]
    for case in result["cases"]:
        assert (case["sequences_per_second"], case["bytes_above_idle"]) == (16.0, 0)
    assert len(turns) == 1 + 4 + 7  # an idle process, the sizes, the series of growth
    assert "| images a batch: 4, 8, 16 | 0.500, 0.500, 0.500 |" in result["tables"][1]
