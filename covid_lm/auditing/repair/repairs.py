"""Repairs of an audited data set, and the audit of the result."""

import dataclasses
import os
from collections.abc import Iterator

import pandas as pd

from covid_lm.auditing.data_audit import AuditReport, audit_dataset
from covid_lm.auditing.model.embeddings import Embedder
from covid_lm.auditing.repair.neutral_copy import TABLE, choose_format, write_neutral_copy
from covid_lm.auditing.repair.new_splits import draw_new_splits
from covid_lm.auditing.repair.repair_options import RepairOptions
from covid_lm.data import WITH_FILES, load_dataset
from covid_lm.data.records import ImageDataset
from covid_lm.data.splits import split_lines
from covid_lm.data.splits_file import write_splits
from covid_lm.evaluation.summary import interval_text

SAME = "the same for every file"


def with_repairs(
    report: AuditReport,
    dataset: ImageDataset,
    options: RepairOptions,
    seed: int = 0,
    progress: bool = False,
    embed: Embedder | None = None,
) -> AuditReport:
    """Makes the repairs, audits the result, and returns the report with both added.

    Files that can't be decoded are left out of the table and the copy. The originals are only read.

    Args:
        report: the audit of the data set.
        dataset: the data set, whose location `options.check` has accepted.
        options: the repairs; without any the report is returned as it is.
        seed: of the draw, the names and the second audit.
        progress: whether to show progress bars on standard error.
        embed: function from image files to vectors for the second audit, see `audit_dataset`.

    Raises:
        InputError: no new splits can be drawn.
        OSError: an output can't be written.
    """
    if not options:
        return report
    seen = report.observations
    repaired = dataclasses.replace(dataset, records=tuple(o.record for o in seen))
    lines = []
    if options.split is not None:
        new = draw_new_splits(seen, report.duplicates, report.classes, seed)
        records = tuple(
            dataclasses.replace(record, split=split)
            for record, split in zip(repaired.records, new.splits, strict=True)
        )
        repaired = dataclasses.replace(repaired, records=records, drawn=())
        lines.append(new.line)
    original = repaired
    if options.neutralise is not None:
        style = choose_format(seen, report.findings, options.side)
        write_neutral_copy(options.neutralise, original, style, seed, options.names, progress)
        copy = load_dataset("table", os.path.join(options.neutralise, TABLE))
        repaired = dataclasses.replace(copy, drawn=original.drawn)
        lines.append(style.line)
    if options.split is not None:
        write_splits(options.split, original if dataset.name in WITH_FILES else repaired)
    if report.unreadable:
        lines.append(f"left out: {len(report.unreadable)} unreadable file(s)")
    after = audit_dataset(repaired, seed, progress=progress, embed=embed)
    lines += split_lines(after.splits, after.classes)
    return dataclasses.replace(report, repairs=tuple(lines), repaired=after)


def compared_findings(before: AuditReport, after: AuditReport) -> pd.DataFrame:
    """Severities of the findings of two audits, a row for each check with a finding."""
    severities = [{f.check: f.severity for f in report.findings} for report in (before, after)]
    titles = {f.check: f.title for report in (after, before) for f in report.findings}
    return pd.DataFrame(
        {
            "finding": title,
            "before": severities[0].get(check, "-"),
            "after": severities[1].get(check, "-"),
        }
        for check, title in titles.items()
    )


def compared_probes(before: AuditReport, after: AuditReport) -> pd.DataFrame:
    """AUCs of the probes of two audits as text, a row for each probe that one of them ran."""
    texts = [dict(_areas(report)) for report in (before, after)]
    titles = {row.check.name: row.check.title for r in (before, after) for row in r.probes}
    return pd.DataFrame(
        {
            "probe: AUC [95% CI]": title,
            "before": texts[0].get(name, "-"),
            "after": texts[1].get(name, "-"),
        }
        for name, title in titles.items()
        if {texts[0].get(name, "-"), texts[1].get(name, "-")} - {SAME, "-"}
    )


def _areas(report: AuditReport) -> Iterator[tuple[str, str]]:
    """Name of each check, and its probe's AUC as text."""
    for row in report.probes:
        score = row.result.score if row.result else None
        yield row.check.name, interval_text(score.auc, list(score.auc_interval)) if score else SAME
