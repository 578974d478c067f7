"""The audit as text for a terminal and as JSON."""

import dataclasses
import statistics

from covid_lm.audit.checks import CHECKS
from covid_lm.audit.data_audit import AuditReport, ProbeRow
from covid_lm.audit.findings import LEAKAGE_CLASSES, SEVERITIES, Finding, short_path
from covid_lm.audit.probes import FOLDS

MAX_LISTED = 20


def count_line(report: AuditReport) -> str:
    """How many findings of each severity, and how many probes ran."""
    counts = [sum(f.severity == severity for f in report.findings) for severity in SEVERITIES]
    by_severity = ", ".join(
        f"{count} {name}" for count, name in zip(counts, SEVERITIES, strict=True) if count
    )
    constant = [row.check.title for row in report.probes if row.result is None]
    line = f"findings: {by_severity or 'none'}; {report.probes_run} probes ran"
    if report.probes_run:
        line += ", p-values corrected for them (Holm)"
    if constant:
        line += f"; the same for every file: {', '.join(constant)}"
    return line


def dependence_line(report: AuditReport) -> str:
    """How dependent the test images are; empty where no patient is known."""
    test = next((s for s in report.splits if s.split == "test" and s.patients), None)
    if test is None:
        return ""
    line = (
        f"test split: {test.files} images of {test.patients} patients, up to "
        f"{test.most_files_of_a_patient} of one"
    )
    effects = [
        row.result.test.design_effect
        for row in report.probes
        if row.result and row.result.test and 0.55 <= row.result.test.accuracy <= 0.95
    ]
    if effects:
        line += (
            f"; the variance of an accuracy is {statistics.median(effects):.1f} times "
            f"that of independent images (median of {len(effects)} probes, largest "
            f"{max(effects):.1f})"
        )
    return line


def probe_table(report: AuditReport) -> str:
    """Every probe's figures as text."""
    lines = [
        f"{'probe':<34} {'AUC [95% CI]':<22} {'accuracy':>8} {'p':>7} {'adjusted':>8}  "
        f"{'test split':>11}   AUC"
    ]
    for row in report.probes:
        if row.result is None:
            lines.append(f"{row.check.title:<34} the same for every file")
            continue
        score, test = row.result.score, row.result.test
        low, high = score.auc_interval
        on_test = f"{test.correct}/{test.n}" if test else "-"
        test_area = f"{test.auc:.3f}" if test else "-"
        lines.append(
            f"{row.check.title:<34} {score.auc:.3f} [{low:.3f}, {high:.3f}]   "
            f"{score.accuracy:>8.3f} {row.result.p_value:>7.3f} {row.adjusted_p_value:>8.3f}  "
            f"{on_test:>11} {test_area:>5}"
        )
    return "\n".join(lines)


def split_lines(report: AuditReport) -> list[str]:
    """Files, patients and classes of each split."""
    lines = []
    for summary in report.splits:
        patients = f" of {summary.patients} patients" if summary.patients else ""
        classes = ", ".join(
            f"{count} {name}"
            for count, name in zip(summary.class_counts, report.classes, strict=True)
        )
        lines.append(f"{summary.split}: {summary.files} images{patients} ({classes})")
    return lines


def finding_lines(finding: Finding) -> list[str]:
    """A finding as lines for a terminal."""
    leakage = finding.leakage_class
    source = f" [{leakage} {LEAKAGE_CLASSES[leakage]}]" if leakage else ""
    lines = [f"{finding.severity.upper():<7}{finding.title}{source}", f"       {finding.summary}"]
    if finding.examples:
        more = " ..." if len(finding.examples) > 2 else ""
        lines.append(f"       e.g. {', '.join(map(short_path, finding.examples[:2]))}{more}")
    return [*lines, f"       {finding.advice}"]


def text_summary(report: AuditReport) -> str:
    """The whole audit for a terminal."""
    lines = [f"audit of {report.dataset}: {len(report.observations)} images"]
    lines += [f"  {line}" for line in split_lines(report)]
    dependence = dependence_line(report)
    if dependence:
        lines.append(f"  {dependence}")
    if report.unreadable:
        lines.append(f"  {len(report.unreadable)} unreadable:")
        lines += [f"    {u.record.path}: {u.reason}" for u in report.unreadable[:MAX_LISTED]]
        if len(report.unreadable) > MAX_LISTED:
            lines.append(f"    and {len(report.unreadable) - MAX_LISTED} more, in audit.json")
    if report.not_probed:
        lines.append(f"  {report.not_probed}")
    lines += ["", count_line(report)]
    for finding in report.findings:
        lines += ["", *finding_lines(finding)]
    if report.probes:
        lines += ["", f"probes, scored by {FOLDS}-fold cross-validation:", probe_table(report)]
    if report.model:
        lines += ["", *report.model["lines"]]
    return "\n".join(lines)


def json_report(report: AuditReport) -> dict:
    """The whole audit as what `audit.json` holds."""
    return {
        "dataset": report.dataset,
        "classes": list(report.classes),
        "images": len(report.observations),
        "unreadable": [{"path": u.record.path, "reason": u.reason} for u in report.unreadable],
        "splits": [dataclasses.asdict(summary) for summary in report.splits],
        "test_dependence": dependence_line(report),
        "not_probed": report.not_probed,
        "probes_available": len(CHECKS),
        "probes_run": report.probes_run,
        "correction": "Holm",
        "findings": [_finding_dict(finding, report) for finding in report.findings],
        "probes": [_probe_dict(row) for row in report.probes],
        "duplicates": [
            {
                "first": report.observations[pair.first].record.path,
                "second": report.observations[pair.second].record.path,
                "correlation": pair.correlation,
                "exact": pair.exact,
            }
            for pair in report.duplicates
        ],
        "model": {key: value for key, value in report.model.items() if key != "lines"},
    }


def _finding_dict(finding: Finding, report: AuditReport) -> dict:
    values = dataclasses.asdict(finding)
    paths = [observation.record.path for observation in report.observations]
    return {**values, "pairs": [[paths[i], paths[j]] for i, j in finding.pairs]}


def _probe_dict(row: ProbeRow) -> dict:
    values = {"check": row.check.name, "title": row.check.title, "kind": row.check.kind}
    if row.result is None:
        return {**values, "constant": True}
    result = dataclasses.asdict(row.result)
    for marker in result["markers"]:
        marker["files"] = len(marker["files"])
    return {**values, "constant": False, "adjusted_p_value": row.adjusted_p_value, **result}
