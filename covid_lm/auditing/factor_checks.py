"""Checks on factors: the other columns of a table, and the tags of DICOM files.

Each factor is probed as any other feature: does the scanner, the site, the sex, the age or the year
predict the label? In addition its shares are compared between the splits.
"""

import collections
import functools
from collections.abc import Sequence

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

from covid_lm.auditing.checks import EMBEDDING, FACTOR, Check
from covid_lm.auditing.design_matrix import MIN_FILES, Features
from covid_lm.auditing.features.observations import Observation
from covid_lm.auditing.findings import FACTOR_SIGNIFICANCE, Finding
from covid_lm.data.factors import factor_columns, factor_levels
from covid_lm.data.records import SPLITS
from covid_lm.data.splits import patient_groups

MIN_EXPECTED = 5  # patients in a cell, for the chi-square approximation
TABLES = 99_999
CLUSTER = "embedding cluster"  # a factor of all images where a model embeds them
_ADVICE = (
    "Balance it between the classes, or report figures for each of its values; if it follows from "
    "the label, as a second diagnosis does, ignore this finding and do not pass it to a model."
)
_CLUSTER_ADVICE = (
    "Look at images of these clusters: if they differ in source, device or window and not in the "
    "disease, collect all classes from the same sources."
)
_SPLIT_ADVICE = "Stratify the split by this factor, or report figures for each of its values."


def factor_facts(values: Sequence[str], name: str) -> list[str]:
    """A statement on the factor for each file, such as "age is 40 to 49".

    Levels and bands are those of `factor_levels`. A text that has no levels there, because it has
    too many values, is used as it is.
    """
    found = factor_levels(values, name)
    if found is None:
        return [f"{name} is {value.strip() or 'missing'}" for value in values]
    levels = (*found.levels, "missing")  # the code of a missing value is -1
    return [f"{name} is {levels[code]}" for code in found.codes]


def factor_checks(seen: Sequence[Observation]) -> list[Check]:
    """A check of each factor that has a value of several files, in the order of the factors."""
    checks = []
    for name, values in factor_columns([o.record for o in seen]).items():
        counts = collections.Counter(factor_facts(values, name))
        if max(counts.values()) >= MIN_FILES:
            features = functools.partial(_features, name)
            title = f'factor "{name}"'
            kind, advice = (FACTOR, _ADVICE) if name != CLUSTER else (EMBEDDING, _CLUSTER_ADVICE)
            checks.append(Check(f"factor:{name}", title, kind, "L3.3", advice, features))
    return checks


def _features(name: str, seen: Sequence[Observation]) -> Features:
    values = [o.record.factors.get(name, "") for o in seen]
    return Features(facts=[(fact,) for fact in factor_facts(values, name)])


def factor_split_findings(seen: Sequence[Observation], seed: int) -> list[Finding]:
    """Findings on factors whose shares differ between splits by more than chance.

    The unit is the patient, with the most frequent of the patient's values in a split. p-values
    have Holm's correction for the number of factors.
    """
    records = [o.record for o in seen]
    tables = {}
    for name, values in factor_columns(records).items():
        if factor_levels(values, name) is None:
            continue
        facts, codes = np.unique(factor_facts(values, name), return_inverse=True)
        table = _patient_table(codes, records, len(facts))
        if min(table.shape) > 1:
            tables[name] = facts.tolist(), table
    if not tables:
        return []
    p_values = [independence_p_value(table, seed) for _, table in tables.values()]
    adjusted = multipletests(p_values, method="holm")[1].tolist()
    splits = [split for split in SPLITS if any(r.split == split for r in records)]
    rows = zip(tables.items(), p_values, adjusted, strict=True)
    return [
        _split_finding(name, facts, table, splits, p_value, corrected)
        for (name, (facts, table)), p_value, corrected in rows
        if corrected < FACTOR_SIGNIFICANCE
    ]


def _patient_table(codes: np.ndarray, records: Sequence, num_levels: int) -> np.ndarray:
    """Patients by level and split, int [levels, splits that have files]."""
    groups = patient_groups([record.patient for record in records])
    splits = np.array([SPLITS.index(record.split) for record in records])
    units, members = np.unique(groups * len(SPLITS) + splits, return_inverse=True)
    counts = np.zeros((len(units), num_levels), int)
    np.add.at(counts, (members, codes), 1)
    table = np.zeros((num_levels, len(SPLITS)), int)
    np.add.at(table, (counts.argmax(axis=1), units % len(SPLITS)), 1)
    return table[np.ix_(table.any(axis=1), table.any(axis=0))]


def independence_p_value(table: np.ndarray, seed: int) -> float:
    """p-value of the hypothesis that rows and columns of a table of counts are independent.

    Pearson's chi-square test. If fewer than 5 are expected in a cell, Fisher's exact test of 2 x 2,
    otherwise the share of 99,999 random tables of the same margins with as large a chi-square.

    Args:
        table: int [2 or more, 2 or more], no row or column of zeros.
    """
    expected = stats.contingency.expected_freq(table)
    if expected.min() >= MIN_EXPECTED:
        return float(stats.chi2_contingency(table, correction=False).pvalue)
    if table.shape == (2, 2):
        return float(stats.fisher_exact(table).pvalue)
    observed = np.sum((table - expected) ** 2 / expected)
    law = stats.random_table(table.sum(axis=1), table.sum(axis=0), seed=seed)
    drawn = ((law.rvs(TABLES) - expected) ** 2 / expected).sum(axis=(1, 2))
    return float((1 + np.sum(drawn >= observed - 1e-9)) / (TABLES + 1))


def _split_finding(
    name: str,
    facts: Sequence[str],
    table: np.ndarray,
    splits: Sequence[str],
    p_value: float,
    corrected: float,
) -> Finding:
    shares = table / table.sum(axis=0)
    spread = shares.max(axis=1) - shares.min(axis=1)
    shown = []
    for level in np.argsort(-spread, kind="stable")[:3]:
        parts = [f"{share:.0%} of {s}" for share, s in zip(shares[level], splits, strict=True)]
        shown.append(f"{facts[level]}: {', '.join(parts)}")
    return Finding(
        check=f"factor_split:{name}",
        title=f'factor "{name}" differs between splits',
        severity="low",
        leakage_class="L3.3",
        summary=f"Shares of {table.sum()} patients differ by more than chance "
        f"(p = {corrected:.2g}); {'; '.join(shown)}.",
        advice=_SPLIT_ADVICE,
        effect={
            "name": "Cramér's V",
            "value": float(stats.contingency.association(table)),
            "p_value": p_value,
            "adjusted_p_value": corrected,
        },
    )
