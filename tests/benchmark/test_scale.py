"""The scale suite: its fits and computed figures exactly, its measurements only that they are."""

import pytest

from covid_lm.backbones.configs import activation_bytes, backbone_config, exact_flops, state_bytes
from covid_lm.benchmark import scale
from covid_lm.benchmark.accelerators import ACCELERATORS, Accelerator, accelerator_table, plan
from covid_lm.benchmark.cases import SUITE_DEFAULTS, Case, Options, cases
from covid_lm.benchmark.growth import exponent, growth_series, growth_table, operations
from covid_lm.benchmark.speed_tables import table
from covid_lm.environment import machine
from tests.conftest import REPOSITORY

QUIET = {"machine": {"load_average": 0.0}}


def test_the_exponent_of_a_power_is_that_power():
    assert exponent({2: 3 * 2**1.5, 4: 3 * 4**1.5, 8: 3 * 8**1.5}) == pytest.approx(1.5)
    assert exponent({128: 1.0, 256: 1.0, 512: 1.0}) == pytest.approx(0)


def test_the_series_share_their_middle_and_grow_by_their_axis():
    series = growth_series(threads=2)
    middles = {list(cases.values())[1] for cases in series.values()}
    assert middles == {Case("training", "4x256", "float32", 8, 2, length=256)}
    counted = {
        axis: exponent({size: operations(case) for size, case in cases.items()})
        for axis, cases in series.items()
    }
    assert counted["images a batch"] == pytest.approx(1)
    assert 1 < counted["tokens"] < 2  # quadratic in attention only
    assert 1 < counted["layers"] < 1.5  # the last layer costs next to nothing


def test_the_growth_table_names_sizes_times_and_exponents():
    seconds = {
        case: size / 100 for axis in growth_series(2).values() for size, case in axis.items()
    }
    seconds |= {case: size / 100 for size, case in growth_series(2)["images a batch"].items()}
    line = growth_table(seconds, 2).splitlines()[2]
    assert line == "| images a batch: 4, 8, 16 | 0.040, 0.080, 0.160 | 1.00 | 1.00 |"


def test_a_plan_by_hand():
    config = backbone_config("rbt3")
    state, sequence = state_bytes(config, 2), activation_bytes(config, 512)
    room = Accelerator("two", 2, memory=(state + 256.5 * sequence) / 0.9, peak=1e12)
    found = plan(config, room)
    assert (found.largest_batch, found.fits_paper) == (256, True)
    assert found.paper_bytes == state + 256 * sequence
    expected = 0.4 * 2e12 / (3 * exact_flops(config, 512))
    assert found.sequences_per_second == pytest.approx(expected)
    tight = Accelerator("two", 2, memory=(state + 255.5 * sequence) / 0.9, peak=1e12)
    assert plan(config, tight).fits_paper is False
    assert plan(config, Accelerator("none", 1, memory=state, peak=1e12)).largest_batch == 0


def test_the_accelerators_are_as_published():
    tpu, h200 = ACCELERATORS
    assert (tpu.devices, tpu.memory / 2**30, tpu.peak) == (8, 16, 61.5e12)
    assert (h200.devices, h200.memory, round(h200.peak / 1e12)) == (1, 141e9, 990)


def test_the_readme_shows_the_computed_table():
    assert accelerator_table() in (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_what_is_measured():
    options = Options(**SUITE_DEFAULTS["scale"])
    chosen = [
        case
        for task in ("inference", "training")
        for case in cases(task, options)
        if scale._is_measured(case)
    ]
    assert len(chosen) == 20
    assert {case.batch_size for case in chosen if case.dtype == "bfloat16"} == {8}
    assert {case.backbone for case in chosen if case.batch_size == 8} == set(options.backbones)


@pytest.mark.slow
def test_the_suite_measures_and_reports(capsys):
    result = scale.run(Options(backbones=("1x64",), batch_sizes=(8,), rounds=1))
    assert [case["task"] for case in result["cases"]] == ["inference"] * 2 + ["training"] * 2
    assert all(case["sequences_per_second"] > 0 for case in result["cases"])
    # 7 sizes of growth, 4 cases and the idle process.
    assert "[12/12] training 8x256 float32 batch 8: " in capsys.readouterr().out
    text = table({"machine": machine(), **result})
    assert "| training | 1x64 | float32 | 8 | " in text
    assert accelerator_table() in text


def test_tables_of_its_own_are_shown_as_they_are():
    text = table({**QUIET, "suite": "scale", "notes": ["a note"], "tables": ["| a |", "| b |"]})
    assert text == "| a |\n\n| b |\na note"
