"""Exact tests of single statements: their p-values, their correction and their patients."""

import numpy as np
import pytest
from scipy import stats

from covid_lm.auditing.design_matrix import Features, design_matrix
from covid_lm.auditing.markers import ExactTest, Markers, collect_markers, ends_of, exact_test


def markers_of(features: Features, count: int) -> Markers:
    return collect_markers(features, design_matrix(features, count))


def outcome(features: Features, labels, groups=None) -> tuple[Markers, ExactTest]:
    labels = np.asarray(labels)
    groups = np.arange(len(labels)) if groups is None else groups
    found = markers_of(features, len(labels))
    return found, exact_test(found, labels, groups, int(labels.max()) + 1)


def test_one_fact_has_fishers_p_value():
    labels = np.arange(60) % 2
    facts = [("marked",) if label and i < 24 else () for i, label in enumerate(labels)]
    found, result = outcome(Features(facts=facts), labels)
    assert found.names == ("marked",)
    exact = stats.fisher_exact([[12, 18], [0, 30]], "greater").pvalue
    assert result.p_value == pytest.approx(2 * exact)  # two tails


def test_a_statement_on_most_files_is_tested_by_its_exceptions():
    labels = np.arange(80) % 2
    facts = [() if label and i < 16 else ("usual",) for i, label in enumerate(labels)]
    # Two files of each patient: every patient has a file with the statement itself.
    patients = np.arange(80) % 40
    found, result = outcome(Features(facts=facts), labels, patients)
    assert found.opposite.tolist() == [True]
    assert found.column(0).sum() == 72
    over_patients = stats.fisher_exact([[8, 12], [0, 20]], "greater").pvalue
    over_files = stats.fisher_exact([[8, 32], [0, 40]], "greater").pvalue
    assert result.p_value == pytest.approx(2 * max(over_files, over_patients))


def test_files_of_a_patient_count_once():
    labels = np.repeat([0, 1], 60)
    patients = np.repeat(np.arange(12), 10)
    facts = [("marked",) if patient in (6, 7) else () for patient in patients]
    _, result = outcome(Features(facts=facts), labels, patients)
    exact = stats.fisher_exact([[2, 4], [0, 6]], "greater").pvalue  # it is 20 of 60 files
    assert result.p_value == pytest.approx(2 * exact)
    _, result = outcome(Features(facts=facts), labels)
    assert result.p_value < 1e-4


def test_a_class_with_more_files_per_patient_is_no_effect():
    rng = np.random.default_rng(0)
    p_values = []
    for _ in range(40):
        patients = np.r_[np.arange(150), np.repeat(np.arange(150, 300), 8)]
        labels = (patients >= 150).astype(int)
        facts = [("marked",) if drawn < 0.1 else () for drawn in rng.random(len(labels))]
        p_values.append(outcome(Features(facts=facts), labels, patients)[1].p_value)
    # Over patients alone, each p-value would be below 1e-6: 57% and 10% of them are marked.
    assert np.mean(np.array(p_values) < 0.05) <= 0.05


def test_errors_without_an_effect_are_at_most_the_level():
    rng = np.random.default_rng(1)
    labels = np.arange(100) % 2
    p_values = []
    for _ in range(200):
        words = rng.random((100, 30)) < rng.uniform(0.05, 0.6, 30)
        facts = [tuple(f"word {k}" for k in np.flatnonzero(row)) for row in words]
        number = rng.random(100)
        p_values.append(outcome(Features({"x": number}, facts), labels)[1].p_value)
    assert np.mean(np.array(p_values) < 0.05) <= 0.05


def test_statements_too_rare_to_matter_cost_nothing():
    labels = np.arange(200) % 2
    rng = np.random.default_rng(2)
    noise = [tuple({f"word {k}" for k in rng.integers(0, 120, 4)}) for _ in labels]
    marked = [("marked", *n) if i % 2 and i < 24 else n for i, n in enumerate(noise)]
    found, result = outcome(Features(facts=marked), labels)
    assert found.names[result.order[0]] == "marked"
    exact = 2 * stats.fisher_exact([[12, 88], [0, 100]], "greater").pvalue
    assert len(found.names) > 60
    assert result.p_value < 3 * exact * 3


def test_an_end_that_is_apart_is_found_at_its_gap():
    values = np.r_[np.linspace(0, 50, 93), np.full(7, 255.0)]
    (low, high), others = ends_of("x", values)[0][::-1], ends_of("x", values)[1]
    assert (high[0], high[1].sum()) == ("x above 152.5", 7)
    assert low[0].startswith("x below")
    assert all(5 <= column.sum() <= 8 for _, column in others)
    assert ends_of("x", np.ones(50)) == ([], [])


def test_three_classes_are_compared_with_the_others():
    labels = np.arange(150) % 3
    facts = [("marked",) if label == 2 and i < 60 else () for i, label in enumerate(labels)]
    _, result = outcome(Features(facts=facts), labels)
    exact = stats.fisher_exact([[20, 30], [0, 100]], "greater").pvalue
    assert result.p_value == pytest.approx(2 * exact * 3)  # tails and classes
