"""Figures as text."""

import pytest

from covid_lm.report.measures import counts_text, estimate_text, figure_text, interval_method


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.12345, "0.123"), (203, "203"), (1.0, "1.000"), (None, "-"), (float("nan"), "-")],
)
def test_figures(value, text):
    assert figure_text(value) == text


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"auc": 0.375, "auc_ci95": [0.25, 0.5]}, "0.375 [0.250, 0.500]"),
        ({"auc": 0.375, "auc_ci95": None}, "0.375"),
        ({"auc": 0.375}, "0.375"),
        ({}, "-"),
    ],
)
def test_estimates(row, text):
    assert estimate_text(row, "auc", "auc_ci95") == text


def test_counts():
    assert counts_text({"n": 203, "correct": 152}) == "152/203"
    assert counts_text({"n": 203}) == "-"


def test_methods():
    assert interval_method({"ci95_method": "wilson"}) == "Wilson interval over images"
    row = {"ci95_method": "patient bootstrap", "num_patients": 95}
    assert interval_method(row) == "patient bootstrap, 95 patients"
    assert interval_method({}) == "unknown method"
