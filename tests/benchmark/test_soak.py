"""The soak's own arithmetic, and a short soak of a real export."""

import pytest

from covid_lm.benchmark.cases import Options
from covid_lm.benchmark.soak import _growth, run, soak_line

MINUTE = 12  # samples


def test_growth_is_that_of_the_last_minute_over_the_second():
    assert _growth([900] * MINUTE + [1000] * MINUTE + [1500] * MINUTE) == 500
    assert _growth([1000] * (3 * MINUTE - 1)) is None


def test_a_line_says_all():
    case = {"backbone": "tiny", "calls": 100, "seconds": 60.0, "bad_calls": 10, "errors": 1}
    case |= {"wrong": 2, "p50": 0.010, "p99": 0.025, "bytes": [5_000_000], "growth": 1_500_000.0}
    assert soak_line(case) == (
        "tiny: 100 calls of 4 callers in 60 s, 10 with a bad image; 1 errors, 2 wrong answers; "
        "p50 10.0 ms, p99 25.0 ms (p99/p50 2.50); memory 5 MB, growth after the first minute "
        "+1.5 MB"
    )


@pytest.mark.slow
def test_an_export_answers_bad_images_and_good_ones_under_four_callers():
    case = run(Options(backbones=("1x64",), minutes=0.1))["cases"][0]
    assert (case["errors"], case["wrong"]) == (0, 0)
    assert case["calls"] > 20
    assert abs(case["bad_calls"] - case["calls"] / 10) <= 1
    assert case["growth"] is None
