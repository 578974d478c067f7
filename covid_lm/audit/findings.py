"""From what was measured to findings: how severe, of which kind of leakage, and what to do.

Leakage classes are those of Kapoor and Narayanan (2023), "Leakage and the reproducibility crisis
in machine-learning-based science", Patterns 4 (9), 100804.
"""

import dataclasses
from collections.abc import Sequence

from statsmodels.stats.multitest import multipletests

from covid_lm.audit.checks import FILE, Check
from covid_lm.audit.probes import Marker, ProbeResult

SEVERITIES = ("high", "medium", "low", "info")
LEAKAGE_CLASSES = {
    "L1.1": "no test set of its own",
    "L1.4": "duplicates",
    "L2": "features that are not legitimate",
    "L3.1": "temporal leakage",
    "L3.2": "test samples that are not independent",
    "L3.3": "sampling bias",
}
SIGNIFICANCE = 0.05
# Lower bounds of the area's 95% interval from which on a probe is of high and of medium severity.
# What is measured on the pixels may be a lesion's own effect, so it has to say more.
AREA_BOUNDS = {True: (0.65, 0.55), False: (0.80, 0.65)}
MAX_EXAMPLES = 12


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that could tell the label, or make a test score too good.

    Attributes:
        check: which check found it.
        title: in a few words.
        severity: one of `SEVERITIES`.
        leakage_class: a key of `LEAKAGE_CLASSES`; None for what is no leakage.
        summary: one or two sentences with the effect and its interval.
        advice: one sentence on what to do.
        effect: `name`, `value`, `interval` and, for probes, `p_value` and `adjusted_p_value`.
        examples: paths of files that show it.
        pairs: of indices into the observations, for thumbnails.
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


def shortened(path: str) -> str:
    """The last two components of a path, which are enough to find the file."""
    return "/".join(path.replace("!", "/").split("/")[-2:])


def ranked(findings: Sequence[Finding]) -> list[Finding]:
    """By severity, then by effect in steps of a tenth, then in the order of the checks.

    The coarse steps let a specific check (mode) go before a general one that sees the same thing
    (first 64 bytes).
    """

    def key(finding: Finding) -> tuple[int, float]:
        low = finding.effect.get("interval", (0.0, 0.0))[0]
        return SEVERITIES.index(finding.severity), -round(low, 1)

    return sorted(findings, key=key)


def area_severity(kind: str, lower_bound: float) -> str:
    """Severity of a significant probe, from the lower bound of its area's interval."""
    high, medium = AREA_BOUNDS[kind == FILE]
    if lower_bound >= high:
        return "high"
    return "medium" if lower_bound >= medium else "low"


def share_severity(share: float) -> str:
    """Severity of a share of the test images that the other splits have seen."""
    if share >= 0.05:
        return "high"
    return "medium" if share >= 0.005 else "low"


def probe_findings(
    probed: Sequence[tuple[Check, ProbeResult]],
    classes: Sequence[str],
    paths: Sequence[str],
) -> tuple[list[Finding], list[float]]:
    """Findings of the probes that stand after correction, and all adjusted p-values.

    Args:
        probed: checks and their results, constant ones left out.
        classes: the classes' names.
        paths: of the files that were probed.
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
        f"Tells the label with AUC {score.auc:.3f} [{low:.3f}, {high:.3f}] and accuracy "
        f"{score.accuracy:.1%} ({score.majority:.1%} by guessing)"
    )
    if result.test:
        summary += f", {result.test.correct}/{result.test.n} on the test split"
    summary += f"; {marker_text(marker, classes)}."
    return Finding(
        check=check.name,
        title=check.title,
        severity=area_severity(check.kind, low),
        leakage_class=check.leakage_class,
        summary=summary,
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


def marker_text(marker: Marker, classes: Sequence[str]) -> str:
    """What a marker says and where: at most the two classes where it is most and least true."""
    order = sorted(range(len(classes)), key=lambda k: -marker.class_shares[k])
    most, least = order[0], order[-1]
    return (
        f'"{marker.text}" holds for {marker.class_shares[most]:.0%} of {classes[most]} and '
        f"{marker.class_shares[least]:.0%} of {classes[least]}"
    )
