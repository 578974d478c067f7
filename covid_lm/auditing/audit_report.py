"""Text of an audit for a terminal, its HTML page, and the content of `audit.json`."""

import dataclasses
import statistics

import pandas as pd

from covid_lm.auditing.audit_tables import cluster_rows, cluster_table, severity_counts
from covid_lm.auditing.checklists import checklist_answers
from covid_lm.auditing.checks import CHECKS
from covid_lm.auditing.data_audit import AuditReport
from covid_lm.auditing.findings import LEAKAGE_CLASSES, short_path
from covid_lm.auditing.probes import FOLDS
from covid_lm.auditing.repair.repairs import compared_findings, compared_probes
from covid_lm.data.preview import thumbnail
from covid_lm.data.records import ImageRecord
from covid_lm.data.splits import split_lines
from covid_lm.evaluation.summary import interval_text, text_table
from covid_lm.html_page import data_uri, render

THUMBNAIL_SIDE = 160


def _count_line(report: AuditReport) -> str:
    """Number of findings by severity, and number of probes."""
    constant = [row.check.title for row in report.probes if row.result is None]
    counts = severity_counts(report.findings)
    line = f"findings: {counts}; {report.probes_run} probes were run"
    if report.probes_run:
        line += " (p-values with Holm's correction for their number)"
    if constant:
        line += f"; the same for every file: {', '.join(constant)}"
    return line


def _dependence_line(report: AuditReport) -> str:
    """Dependence between the images of the test split; "" if no patient is known."""
    test = next((s for s in report.splits if s.split == "test" and s.patients), None)
    if test is None:
        return ""
    line = (
        f"test split: {test.files} images of {test.patients} patients, at most "
        f"{test.most_files_of_a_patient} of one patient"
    )
    scores = [row.result.test for row in report.probes if row.result and row.result.test]
    effects = [score.design_effect for score in scores if 0.55 <= score.accuracy <= 0.95]
    if effects:
        line += (
            f"; the variance of an accuracy is {statistics.median(effects):.1f} times that of "
            f"independent images (median of {len(effects)} probes, maximum {max(effects):.1f})"
        )
    return line


def _probe_table(report: AuditReport) -> pd.DataFrame:
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


def _page_values(report: AuditReport) -> dict:
    """Variables of both templates."""
    lines = [*split_lines(report.splits, report.classes), _dependence_line(report)]
    return {
        "report": report,
        "lines": [line for line in (*lines, report.not_probed) if line],
        "count_line": _count_line(report),
        "leakage_classes": LEAKAGE_CLASSES,
        "probes": _probe_table(report),
        "folds": FOLDS,
        "model": model_table(report.model) if report.model else None,
        "clusters": cluster_table(_clusters(report), report.classes),
        "comparison": _comparison(report),
        "answers": checklist_answers(report),
    }


def _clusters(report: AuditReport) -> list[dict]:
    """The clusters of the embedding; none without one."""
    if report.embedded is None:
        return []
    records = [observation.record for observation in report.observations]
    return cluster_rows(records, report.embedded.clusters, len(report.classes))


def _embedding(report: AuditReport) -> dict:
    """The view of a model on the images, without the vectors; empty without one."""
    view = report.embedded
    if view is None:
        return {}
    figures = ("dimensions", "missing", "copies", "recognized", "tells_copies")
    return {name: getattr(view, name) for name in figures} | {"clusters": _clusters(report)}


def _comparison(report: AuditReport) -> list[pd.DataFrame]:
    """Tables of the audits before and after the repairs; none without repairs."""
    if report.repaired is None:
        return []
    tables = compared_findings(report, report.repaired), compared_probes(report, report.repaired)
    return [table for table in tables if len(table)]


def text_summary(report: AuditReport) -> str:
    """The audit as text for a terminal."""
    values = {**_page_values(report), "short_path": short_path, "text_table": text_table}
    return render("audit.txt", **values).rstrip("\n")


def html_report(report: AuditReport) -> str:
    """Renders the page; it is well-formed XML, too."""
    return render(
        "audit.html",
        title=f"Audit of {report.dataset}",
        **_page_values(report),
        scores=[row.result.score for row in report.probes if row.result],
        picture=_picture,
    )


def _picture(record: ImageRecord) -> str:
    """A thumbnail of a file as a data URI."""
    return data_uri(thumbnail(record.read(), THUMBNAIL_SIDE) or b"", "image/jpeg")


def json_report(report: AuditReport) -> dict:
    """The audit as the content of `audit.json`."""
    paths = [observation.record.path for observation in report.observations]
    probes = []
    for row in report.probes:
        values: dict = {"check": row.check.name, "title": row.check.title, "kind": row.check.kind}
        values["constant"] = row.result is None
        if row.result is not None:
            values |= {"adjusted_p_value": row.adjusted_p_value, **dataclasses.asdict(row.result)}
            values["markers"] = [{**m, "files": len(m["files"])} for m in values["markers"]]
        probes.append(values)
    return {
        "dataset": report.dataset,
        "classes": list(report.classes),
        "images": len(report.observations),
        "unreadable": [{"path": u.record.path, "reason": u.reason} for u in report.unreadable],
        "splits": [dataclasses.asdict(summary) for summary in report.splits],
        "test_dependence": _dependence_line(report),
        "not_probed": report.not_probed,
        "probes_available": len(report.probes) or len(CHECKS),
        "probes_run": report.probes_run,
        "correction": "Holm",
        "findings": [
            {**dataclasses.asdict(f), "pairs": [[paths[i], paths[j]] for i, j in f.pairs]}
            for f in report.findings
        ],
        "probes": probes,
        "duplicates": [
            {**dataclasses.asdict(d), "first": paths[d.first], "second": paths[d.second]}
            for d in report.duplicates
        ],
        "model": report.model,
        "embedding": _embedding(report),
        "checklists": [dataclasses.asdict(answer) for answer in checklist_answers(report)],
        "repairs": list(report.repairs),
        "repaired": json_report(report.repaired) | {"checklists": []} if report.repaired else None,
    }
