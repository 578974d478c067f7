"""Factors of the records: do they predict the label, and do the splits differ by them?"""

import dataclasses

import numpy as np
import pytest
from scipy import stats

from covid_lm.auditing.checks import CHECKS
from covid_lm.auditing.data_audit import audit_dataset
from covid_lm.auditing.factor_checks import (
    factor_checks,
    factor_facts,
    factor_split_findings,
    independence_p_value,
)
from covid_lm.auditing.features.observations import Observation
from covid_lm.auditing.findings import FACTOR_SIGNIFICANCE
from covid_lm.auditing.probes import Labels, run_probe
from tests.audit.synthetic import noise_dataset, observed

PATIENTS = 120
SCANNERS = ("A1", "A2", "B7")


@pytest.fixture(scope="module")
def one_file() -> Observation:
    return observed(0)


def files_with_factors(template: Observation, seed: int, leak: float = 0.0) -> list[Observation]:
    """Two files each of 120 patients, with five factors, of which the scanner can leak.

    Args:
        leak: share of the positive patients that were on scanner "B7" for that reason alone.
    """
    rng = np.random.default_rng(seed)
    seen = []
    for patient in range(PATIENTS):
        positive = patient % 2
        scanner = "B7" if positive and rng.random() < leak else rng.choice(SCANNERS)
        factors = {
            "scanner": str(scanner),
            "site": str(rng.choice(["north", "south", ""])),
            "sex": str(rng.choice(["F", "M"])),
            "age": str(rng.integers(18, 95)),
            "year": str(rng.integers(2012, 2021)),
        }
        split = str(rng.choice(["train", "val", "test"], p=[0.6, 0.15, 0.25]))
        for number in range(2):
            record = dataclasses.replace(
                template.record,
                filename=f"{patient}-{number}.png",
                label=positive,
                split=split,
                patient=f"p{patient}",
                factors=factors,
            )
            seen.append(dataclasses.replace(template, record=record))
    return seen


def telling_factors(seen: list[Observation]) -> set[str]:
    """Factors with a finding, corrected for all probes of an audit."""
    groups = np.unique([o.record.patient for o in seen], return_inverse=True)[1]
    labels = np.array([o.record.label for o in seen])
    is_test = np.array([o.record.split == "test" for o in seen])
    target = Labels(labels, groups, is_test, 2)
    checks = factor_checks(seen)
    results = {check.name: run_probe(check.features(seen), target) for check in checks}
    level = FACTOR_SIGNIFICANCE / (len(CHECKS) + len(checks))
    return {name for name, result in results.items() if result.p_value < level}


def test_facts_are_levels_and_bands():
    ages = ["34", "39", "40", "", "61"]
    assert factor_facts(ages, "age") == [
        "age is 30 to 39",
        "age is 30 to 39",
        "age is 40 to 49",
        "age is missing",
        "age is 60 to 69",
    ]
    assert factor_facts(["F", "M", "F", "na"], "sex") == [
        "sex is F",
        "sex is M",
        "sex is F",
        "sex is missing",
    ]
    notes = [f"note {k // 3}" for k in range(90)]
    assert factor_facts(notes, "note")[:4] == ["note is note 0"] * 3 + ["note is note 1"]


def test_a_factor_that_differs_in_every_file_is_no_check(one_file):
    seen = files_with_factors(one_file, 0)
    named = [
        dataclasses.replace(o, record=dataclasses.replace(o.record, factors={"id": f"x{i}"}))
        for i, o in enumerate(seen)
    ]
    assert factor_checks(named) == []
    assert [check.name for check in factor_checks(seen)] == [
        "factor:scanner",
        "factor:site",
        "factor:sex",
        "factor:age",
        "factor:year",
    ]


@pytest.mark.parametrize(
    "seeds", [range(2), pytest.param(range(2, 20), marks=pytest.mark.slow)], ids=["two", "others"]
)
def test_a_planted_scanner_is_found(seeds, one_file):
    for seed in seeds:
        assert telling_factors(files_with_factors(one_file, seed, 0.7)) == {"factor:scanner"}, seed


@pytest.mark.parametrize(
    "seeds", [range(2), pytest.param(range(2, 40), marks=pytest.mark.slow)], ids=["two", "others"]
)
def test_no_finding_without_a_leak(seeds, one_file):
    for seed in seeds:
        seen = files_with_factors(one_file, seed)
        assert telling_factors(seen) == set(), seed
        assert factor_split_findings(seen, seed) == [], seed


def test_the_audit_reports_a_factor_and_a_split_that_differs_by_it():
    dataset = noise_dataset(96)
    records = [
        dataclasses.replace(
            record,
            factors={
                "scanner": ("old", "new")[record.label],
                "site": "north" if record.split == "test" and record.label else "south",
                "all": "same",
            },
        )
        for record in dataset.records
    ]
    report = audit_dataset(dataclasses.replace(dataset, records=tuple(records)), permutations=99)
    found = {finding.check: finding for finding in report.findings}
    assert found["factor:scanner"].severity == "high"
    assert found["factor:scanner"].title == 'factor "scanner"'
    assert (
        '"scanner is new" holds for 100% of positive and 0% of' in found["factor:scanner"].summary
    )
    split = found["factor_split:site"]
    assert (split.severity, split.leakage_class) == ("low", "L3.3")
    assert "site is north: 0% of train, 50% of test" in split.summary
    assert "factor_split:scanner" not in found
    assert {row.check.name: row.result for row in report.probes}["factor:all"] is None
    assert len(report.probes) == len(CHECKS) + 3


def test_independence_by_the_table():
    large = np.array([[30, 20], [20, 30]])
    expected = stats.chi2_contingency(large, correction=False).pvalue
    assert independence_p_value(large, 0) == pytest.approx(expected)
    small = np.array([[4, 0], [1, 6]])
    assert independence_p_value(small, 0) == pytest.approx(stats.fisher_exact(small).pvalue)
    wide = np.array([[6, 0, 0], [0, 5, 1], [1, 0, 6]])
    method = stats.PermutationMethod(n_resamples=9999, rng=np.random.default_rng(0))
    expected = stats.chi2_contingency(wide, correction=False, method=method).pvalue
    assert independence_p_value(wide, 0) == pytest.approx(expected, abs=3e-4)
    assert independence_p_value(np.array([[3, 3, 3], [3, 3, 3]]), 0) == 1
