"""Suite `soak`: its arithmetic, its table, and a short soak of a real export."""

import pytest

from covid_lm.benchmark import suites
from covid_lm.benchmark.cases import Options
from covid_lm.benchmark.soak import memory_growth
from covid_lm.benchmark.speed_tables import report, soak_table

MINUTE = 12  # samples


def test_growth_is_from_the_second_minute_to_the_last():
    assert memory_growth([900] * MINUTE + [1000] * MINUTE + [1500] * MINUTE) == 500
    assert memory_growth([1000] * (3 * MINUTE - 1)) is None


def test_the_table_has_counts_latencies_and_memory():
    case = {"backbone": "tiny", "calls": 100, "seconds": 60.0, "bad_calls": 10, "errors": 1}
    case |= {"wrong": 2, "p50": 0.010, "p99": 0.025, "bytes": [5_000_000], "growth": 1_500_000.0}
    head, _, row = soak_table([case]).splitlines()
    assert head == (
        "| model | seconds | calls | with a bad image | errors | wrong answers | p50 ms | p99 ms | "
        "memory MB | growth MB |"
    )
    assert row == "| tiny | 60 | 100 | 10 | 1 | 2 | 10.0 | 25.0 | 5 | +1.5 |"
    assert soak_table([{**case, "growth": None}]).endswith(" | - |")


@pytest.mark.slow
def test_an_export_answers_bad_images_and_good_ones_under_four_callers():
    result = suites.run("soak", Options(backbones=("1x64",), minutes=0.1))
    (case,) = result["cases"]
    assert (case["errors"], case["wrong"]) == (0, 0)
    assert case["calls"] > 20
    assert abs(case["bad_calls"] - case["calls"] / 10) <= 1
    assert case["growth"] is None
    assert "| 1x64 | 6 | " in report(result)
