"""Text of an audit for a terminal, tables for its page, and the content of `audit.json`."""

import collections
import dataclasses
import statistics

import pandas as pd

from covid_lm.audit.checks import CHECKS
from covid_lm.audit.data_audit import AuditReport, ProbeRow
from covid_lm.audit.findings import LEAKAGE_CLASSES, SEVERITIES, Finding, short_path
from covid_lm.audit.probes import FOLDS
from covid_lm.data.splits import split_lines
from covid_lm.evaluation.summary import interval_text, text_table

MAX_LISTED = 20


def count_line(report: AuditReport) -> str:
    """Number of findings by severity, and number of probes."""
    counts = collections.Counter(finding.severity for finding in report.findings)
    by_severity = ", ".join(f"{counts[name]} {name}" for name in SEVERITIES if counts[name])
    constant = [row.check.title for row in report.probes if row.result is None]
    line = f"findings: {by_severity or 'none'}; {report.probes_run} probes were run"
    if report.probes_run:
        line += " (p-values with Holm's correction for their number)"
    if constant:
        line += f"; the same for every file: {', '.join(constant)}"
    return line


def dependence_line(report: AuditReport) -> str:
    """Dependence between the images of the test split; "" if no patient is known."""
    test = next((s for s in report.splits if s.split == "test" and s.patients), None)
    if test is None:
        return ""
    line = (
        f"test split: {test.files} images of {test.patients} patients, at most "
        f"{test.most_files_of_a_patient} of one patient"
    )
    effects = [
        row.result.test.design_effect
        for row in report.probes
        if row.result and row.result.test and 0.55 <= row.result.test.accuracy <= 0.95
    ]
    if effects:
        line += (
            f"; the variance of an accuracy is {statistics.median(effects):.1f} times that of "
            f"independent images (median of {len(effects)} probes, maximum {max(effects):.1f})"
        )
    return line


def probe_table(report: AuditReport) -> pd.DataFrame:
    """Scores of the probes as text, a row for each probe that was run."""
    return pd.DataFrame(
        {
            "probe": row.check.title,
            "AUC [95% CI]": interval_text(result.score.auc, list(result.score.auc_interval)),
            "accuracy": f"{result.score.accuracy:.3f}",
            "p": f"{result.p_value:.3f}",
            "corrected p": f"{row.adjusted_p_value:.3f}",
            "test split": f"{result.test.correct}/{result.test.n}" if result.test else "-",
            "its AUC": f"{result.test.auc:.3f}" if result.test else "-",
        }
        for row in report.probes
        if (result := row.result)
    )


def model_table(results: dict) -> pd.DataFrame:
    """Results of the model checks as text, a row for each edit and policy."""
    return pd.DataFrame(
        {
            "edit": row["edit"],
            "names": row["policy"],
            "mean change": f"{row['mean_change']:.3f}",
            "largest": f"{row['largest_change']:.3f}",
            "other class": f"{row['flipped']}/{results['images']}",
            "accuracy": f"{row['accuracy']:.3f}",
            "AUC": interval_text(row["auc"], None),
            "output": "identical" if row["identical"] else "differs",
        }
        for row in results["rows"]
    )


def model_line(results: dict) -> str:
    """The model, its training, and the meaning of the table."""
    return (
        f"{results['model']} ({results['protocol']} protocol) on {results['images']} test images; "
        "changes of the probabilities relative to the unchanged input"
    )


def attribution_lines(results: dict) -> list[str]:
    """Shares of the attribution by kind of token, a line for each policy."""
    return [
        f"attribution (integrated gradients), {policy} names: "
        + ", ".join(f"{kind} {share:.1%}" for kind, share in shares.items())
        for policy, shares in results["attribution"].items()
    ]


def _finding_lines(finding: Finding) -> list[str]:
    leakage = finding.leakage_class
    source = f" [{leakage} {LEAKAGE_CLASSES[leakage]}]" if leakage else ""
    lines = [f"{finding.severity.upper():<7}{finding.title}{source}", f"       {finding.summary}"]
    if finding.examples:
        more = " ..." if len(finding.examples) > 2 else ""
        lines.append(f"       e.g. {', '.join(map(short_path, finding.examples[:2]))}{more}")
    return [*lines, f"       {finding.advice}"]


def text_summary(report: AuditReport) -> str:
    """The audit as text for a terminal."""
    lines = [f"audit of {report.dataset}: {len(report.observations)} images"]
    facts = (*split_lines(report.splits, report.classes), dependence_line(report))
    lines += [f"  {line}" for line in facts if line]
    if report.unreadable:
        more = ", the first of them" if len(report.unreadable) > MAX_LISTED else ""
        lines.append(f"  {len(report.unreadable)} unreadable{more}:")
        lines += [f"    {u.record.path}: {u.reason}" for u in report.unreadable[:MAX_LISTED]]
    if report.not_probed:
        lines.append(f"  {report.not_probed}")
    lines += ["", count_line(report)]
    for finding in report.findings:
        lines += ["", *_finding_lines(finding)]
    if report.probes_run:
        title = f"probes, scored by {FOLDS}-fold cross-validation:"
        lines += ["", title, text_table(probe_table(report))]
    if report.model:
        lines += ["", f"model {model_line(report.model)}:", text_table(model_table(report.model))]
        lines += attribution_lines(report.model)
    return "\n".join(lines)


def json_report(report: AuditReport) -> dict:
    """The audit as the content of `audit.json`."""
    paths = [observation.record.path for observation in report.observations]
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
        "findings": [
            {**dataclasses.asdict(f), "pairs": [[paths[i], paths[j]] for i, j in f.pairs]}
            for f in report.findings
        ],
        "probes": [_probe_dict(row) for row in report.probes],
        "duplicates": [
            {**dataclasses.asdict(d), "first": paths[d.first], "second": paths[d.second]}
            for d in report.duplicates
        ],
        "model": report.model,
    }


def _probe_dict(row: ProbeRow) -> dict:
    values = {"check": row.check.name, "title": row.check.title, "kind": row.check.kind}
    if row.result is None:
        return {**values, "constant": True}
    result = dataclasses.asdict(row.result)
    for marker in result["markers"]:
        marker["files"] = len(marker["files"])
    return {**values, "constant": False, "adjusted_p_value": row.adjusted_p_value, **result}
