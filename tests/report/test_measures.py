"""Figures as text."""

import pytest

from covid_lm.report.measures import counts_text, figure_text, interval_method, interval_text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.123"), (203, "203"), (1.0, "1.000"), (None, "-"), (float("nan"), "-")],
)
def test_figures(value, text):
    assert figure_text(value) == text


@pytest.mark.parametrize(
    ("bounds", "text"),
    [([0.25, 0.5], " [0.250, 0.500]"), (None, ""), ([None, None], ""), ([], "")],
)
def test_intervals(bounds, text):
    assert interval_text(bounds) == text


def test_counts():
    assert counts_text({"n": 203, "correct": 152}) == "152/203"
    assert counts_text({"n": 203}) == "-"


def test_methods():
    assert interval_method({"ci95_method": "wilson"}) == "Wilson interval over images"
    row = {"ci95_method": "patient bootstrap", "num_patients": 95}
    assert interval_method(row) == "patient bootstrap, 95 patients"
    assert interval_method({}) == "unknown method"
