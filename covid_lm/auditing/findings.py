"""Findings: severity, kind of leakage, and advice, derived from the results of the checks.

The kinds of leakage are those of Kapoor and Narayanan (2023), "Leakage and the reproducibility
crisis in machine-learning-based science", Patterns 4 (9), 100804.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from covid_lm.auditing.checks import EMBEDDING, FACTOR, FILE, Check
from covid_lm.auditing.probes import ProbeResult

SEVERITIES = ("high", "medium", "low", "info")
LEAKAGE_CLASSES = {
    "L1.1": "no separate test set",
    "L1.4": "duplicates",
    "L2": "features that are not legitimate",
    "L3.1": "temporal leakage",
    "L3.2": "test samples that are not independent",
    "L3.3": "sampling bias",
}
SIGNIFICANCE = 0.05
FACTOR_SIGNIFICANCE = 0.01  # of factors, and of shares that differ between splits
MAX_EXAMPLES = 12


@dataclasses.dataclass(frozen=True)
class Finding:
    """A property of the data or the model that may inflate a test score.

    Attributes:
        check: name of the check that made the finding.
        title: a few words.
        severity: one of `SEVERITIES`.
        leakage_class: a key of `LEAKAGE_CLASSES`; None for a problem that is no leakage.
        summary: one or two sentences with the effect and its interval.
        advice: one sentence on what to do.
        effect: `name`, `value`, `interval` and, for probes, `p_value` and `adjusted_p_value`.
        examples: paths of files that show the problem.
        pairs: pairs of indices into the observations, shown as thumbnails.
    """

    check: str
    title: str
    severity: str
    leakage_class: str | None
    summary: str
    advice: str
    effect: dict = dataclasses.field(default_factory=dict)
    examples: tuple[str, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()


def short_path(path: str) -> str:
    """Returns the last two components of a path, enough to find the file."""
    return "/".join(path.replace("!", "/").split("/")[-2:])


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """Sorts findings by severity, then by effect in steps of 0.1, then by the order of the checks.

    The coarse steps list a specific check (mode) before a general one that detects the same
    problem (first 64 bytes).
    """
    by_effect = sorted(findings, key=lambda f: -round(f.effect.get("interval", (0.0,))[0], 1))
    return sorted(by_effect, key=lambda finding: SEVERITIES.index(finding.severity))


def auc_severity(kind: str, lower_bound: float) -> str:
    """Severity of a significant probe, given the lower bound of its AUC's 95% interval.

    Measurements of the pixels and factors have higher bounds: they may reflect the disease itself.
    Clusters by a model are expected to.
    """
    if kind == EMBEDDING:
        return "info"
    high, medium = (0.65, 0.55) if kind == FILE else (0.80, 0.65)
    if lower_bound >= high:
        return "high"
    return "medium" if lower_bound >= medium else "low"


def share_severity(share: float) -> str:
    """Severity of overlap between splits, given the share of the test images that it affects."""
    if share >= 0.05:
        return "high"
    return "medium" if share >= 0.005 else "low"


@dataclasses.dataclass(frozen=True)
class ProbeRow:
    """The probe of one check; `result` is None if the feature is the same for every file."""

    check: Check
    result: ProbeResult | None
    adjusted_p_value: float


def probe_finding(row: ProbeRow, classes: Sequence[str], paths: Sequence[str]) -> Finding | None:
    """Makes a finding of a significant probe, given the names of the classes and files."""
    check, result = row.check, row.result
    level = FACTOR_SIGNIFICANCE if check.kind in (FACTOR, EMBEDDING) else SIGNIFICANCE
    if result is None or row.adjusted_p_value >= level:
        return None
    score = result.score
    low, high = score.auc_interval
    marker = result.markers[0]
    order = np.argsort(-np.array(marker.class_shares), kind="stable")
    most, least = (f"{marker.class_shares[k]:.0%} of {classes[k]}" for k in (order[0], order[-1]))
    test = f", {result.test.correct}/{result.test.n} on the test split" if result.test else ""
    return Finding(
        check=check.name,
        title=check.title,
        severity=auc_severity(check.kind, low),
        leakage_class=check.leakage_class,
        summary=f"Predicts the label with AUC {score.auc:.3f} [{low:.3f}, {high:.3f}] and accuracy "
        f"{score.accuracy:.1%} ({score.majority:.1%} by guessing){test}; "
        f'"{marker.text}" holds for {most} and {least}.',
        advice=check.advice,
        effect={
            "name": "AUC out of fold",
            "value": score.auc,
            "interval": [low, high],
            "p_value": result.p_value,
            "adjusted_p_value": row.adjusted_p_value,
        },
        examples=tuple(paths[i] for i in marker.files[:MAX_EXAMPLES]),
    )
