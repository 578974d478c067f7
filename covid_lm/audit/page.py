"""HTML page of an audit."""

from collections.abc import Sequence

from covid_lm.audit import audit_report as text
from covid_lm.audit.data_audit import AuditReport
from covid_lm.audit.findings import LEAKAGE_CLASSES
from covid_lm.audit.probes import FOLDS
from covid_lm.data.preview import thumbnail
from covid_lm.data.records import ImageRecord
from covid_lm.data.splits import split_lines
from covid_lm.html_page import data_uri, render

THUMBNAIL_SIDE = 160


def html_report(report: AuditReport) -> str:
    """Renders the page; it is well-formed XML, too."""
    line = text.count_line(report)
    scores = [row.result.score for row in report.probes if row.result]
    return render(
        "audit.html",
        title=f"Audit of {report.dataset}",
        lines=[
            *split_lines(report.splits, report.classes),
            text.dependence_line(report),
            report.not_probed,
        ],
        count_line=line[:1].upper() + line[1:],
        findings=[
            (finding, [_pair(report, pair) for pair in finding.pairs])
            for finding in report.findings
        ],
        leakage_classes=LEAKAGE_CLASSES,
        probes=text.probe_table(report),
        intervals=[(score.auc, *score.auc_interval) for score in scores],
        folds=FOLDS,
        model_line=text.model_line(report.model) if report.model else "",
        model=text.model_table(report.model) if report.model else None,
        attribution=text.attribution_lines(report.model) if report.model else [],
        unreadable=[f"{item.record.path}: {item.reason}" for item in report.unreadable],
    )


def _pair(report: AuditReport, pair: Sequence[int]) -> list[tuple[ImageRecord, str]]:
    """Two records, each with a thumbnail as a data URI."""
    records = [report.observations[index].record for index in pair]
    images = [thumbnail(record.read(), THUMBNAIL_SIDE) or b"" for record in records]
    return [(r, data_uri(image, "image/jpeg")) for r, image in zip(records, images, strict=True)]
