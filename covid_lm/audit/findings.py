"""Findings: severity, kind of leakage, and advice, derived from the results of the checks.

The kinds of leakage are those of Kapoor and Narayanan (2023), "Leakage and the reproducibility
crisis in machine-learning-based science", Patterns 4 (9), 100804.
"""

import dataclasses
from collections.abc import Sequence

from statsmodels.stats.multitest import multipletests

from covid_lm.audit.checks import FILE, Check
from covid_lm.audit.probes import Marker, ProbeResult

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
# Lower bounds of the AUC's 95% interval for high and medium severity, for properties of the file
# (True) and for measurements of the pixels, which may reflect the disease itself.
AUC_BOUNDS = {True: (0.65, 0.55), False: (0.80, 0.65)}
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

    def key(finding: Finding) -> tuple[int, float]:
        low = finding.effect.get("interval", (0.0, 0.0))[0]
        return SEVERITIES.index(finding.severity), -round(low, 1)

    return sorted(findings, key=key)


def auc_severity(kind: str, lower_bound: float) -> str:
    """Severity of a significant probe, given the lower bound of its AUC's interval."""
    high, medium = AUC_BOUNDS[kind == FILE]
    if lower_bound >= high:
        return "high"
    return "medium" if lower_bound >= medium else "low"


def share_severity(share: float) -> str:
    """Severity of overlap between splits, given the share of the test images that it affects."""
    if share >= 0.05:
        return "high"
    return "medium" if share >= 0.005 else "low"


def probe_findings(
    probed: Sequence[tuple[Check, ProbeResult]], classes: Sequence[str], paths: Sequence[str]
) -> tuple[list[Finding], list[float]]:
    """Makes a finding of every probe that is significant after Holm's correction.

    Args:
        probed: checks with their results, without constant features.
        classes, paths: names of the classes, and paths of the probed files.

    Returns:
        The findings, and the adjusted p-value of every probe.
    """
    p_values = [result.p_value for _, result in probed]
    adjusted = multipletests(p_values, method="holm")[1].tolist() if p_values else []
    findings = [
        _probe_finding(check, result, p_value, classes, paths)
        for (check, result), p_value in zip(probed, adjusted, strict=True)
        if p_value < SIGNIFICANCE
    ]
    return findings, adjusted


def _probe_finding(
    check: Check,
    result: ProbeResult,
    adjusted: float,
    classes: Sequence[str],
    paths: Sequence[str],
) -> Finding:
    score = result.score
    low, high = score.auc_interval
    marker = result.markers[0]
    summary = (
        f"Predicts the label with AUC {score.auc:.3f} [{low:.3f}, {high:.3f}] and accuracy "
        f"{score.accuracy:.1%} ({score.majority:.1%} by guessing)"
    )
    if result.test:
        summary += f", {result.test.correct}/{result.test.n} on the test split"
    return Finding(
        check=check.name,
        title=check.title,
        severity=auc_severity(check.kind, low),
        leakage_class=check.leakage_class,
        summary=f"{summary}; {_describe_marker(marker, classes)}.",
        advice=check.advice,
        effect={
            "name": "AUC out of fold",
            "value": score.auc,
            "interval": list(score.auc_interval),
            "p_value": result.p_value,
            "adjusted_p_value": adjusted,
        },
        examples=tuple(paths[i] for i in marker.files[:MAX_EXAMPLES]),
    )


def _describe_marker(marker: Marker, classes: Sequence[str]) -> str:
    """Names the two classes in which the marker is most and least frequent."""
    order = sorted(range(len(classes)), key=lambda k: -marker.class_shares[k])
    most, least = (f"{marker.class_shares[k]:.0%} of {classes[k]}" for k in (order[0], order[-1]))
    return f'"{marker.text}" holds for {most} and {least}'
