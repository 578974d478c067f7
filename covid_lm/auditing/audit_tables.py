"""Findings and probes of an audit as data frames, and its view in a notebook."""

import collections
import dataclasses
from collections.abc import Sequence

import pandas as pd

from covid_lm.auditing.findings import SEVERITIES, Finding, ProbeRow, short_path
from covid_lm.data.records import SPLITS, ImageRecord
from covid_lm.evaluation.summary import interval_text
from covid_lm.html_page import render

CLUSTER_EXAMPLES = 5
_SHOWN = ["severity", "title", "summary", "advice"]


def findings_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """A row for each finding; `value`, `low` and `high` are its effect with the 95% interval."""
    columns = ["severity", "check", "title", "leakage_class", "effect", "value", "low", "high"]
    columns += ["p_value", "adjusted_p_value", "summary", "advice", "examples"]
    rows = [
        {
            **dataclasses.asdict(finding),
            **finding.effect,
            "effect": finding.effect.get("name"),
            **dict(zip(("low", "high"), finding.effect.get("interval") or (), strict=False)),
        }
        for finding in findings
    ]
    return pd.DataFrame(rows, columns=columns)


def probes_table(probes: Sequence[ProbeRow]) -> pd.DataFrame:
    """A row for each probe; of a feature that is the same for every file all figures are missing.

    `auc` is out of fold, with its 95% interval `low` to `high`; `test_auc` is on the test split.
    """
    columns = ["check", "title", "kind", "auc", "low", "high", "accuracy", "p_value"]
    columns += ["adjusted_p_value", "test_auc", "test_correct", "test_n"]
    rows: list[dict] = []
    for row in probes:
        values: dict = {"check": row.check.name, "title": row.check.title, "kind": row.check.kind}
        if row.result is not None:
            score, test = row.result.score, row.result.test
            values |= dict(zip(("low", "high"), score.auc_interval, strict=True))
            values |= {"auc": score.auc, "accuracy": score.accuracy}
            values |= {"p_value": row.result.p_value, "adjusted_p_value": row.adjusted_p_value}
            if test is not None:
                values |= {"test_auc": test.auc, "test_correct": test.correct, "test_n": test.n}
        rows.append(values)
    return pd.DataFrame(rows, columns=columns)


def cluster_rows(
    records: Sequence[ImageRecord], clusters: Sequence[str], num_classes: int
) -> list[dict]:
    """Images, classes and splits of each cluster of the embedding, the largest cluster first.

    Args:
        records, clusters: of n images, and the name of the cluster of each, "" for none.
    """
    rows = []
    files: dict[str, list[ImageRecord]] = collections.defaultdict(list)
    for record, name in zip(records, clusters, strict=True):
        files[name].append(record)
    for name in sorted({*files} - {""}):
        labels = collections.Counter(record.label for record in files[name])
        splits = collections.Counter(record.split for record in files[name])
        rows.append(
            {
                "cluster": name,
                "images": len(files[name]),
                "class_counts": [labels[k] for k in range(num_classes)],
                "splits": {split: splits[split] for split in SPLITS if splits[split]},
                "examples": [record.path for record in files[name][:CLUSTER_EXAMPLES]],
            }
        )
    return rows


def cluster_table(clusters: Sequence[dict], classes: Sequence[str]) -> pd.DataFrame:
    """Rows of `cluster_rows` as text: the most frequent class, the splits and two files of each."""
    rows = []
    for row in clusters:
        most = max(row["class_counts"])
        name = classes[row["class_counts"].index(most)]
        rows.append(
            {
                "cluster": row["cluster"],
                "images": str(row["images"]),
                "most frequent class": f"{most / row['images']:.0%} {name}",
                "splits": ", ".join(f"{count} {split}" for split, count in row["splits"].items()),
                "e.g.": ", ".join(short_path(path) for path in row["examples"][:2]),
            }
        )
    return pd.DataFrame(rows)


def severity_counts(findings: Sequence[Finding]) -> str:
    """Number of findings of each severity, as in "2 high, 1 low"; "none" without findings."""
    counts = collections.Counter(finding.severity for finding in findings)
    return ", ".join(f"{counts[name]} {name}" for name in SEVERITIES if counts[name]) or "none"


def notebook_view(
    title: str, findings: Sequence[Finding], probes: Sequence[ProbeRow], repaired: bool
) -> str:
    """HTML of the findings and probes for the cell of a notebook.

    Args:
        title: one line.
        repaired: true to point to the audit of the repaired data.
    """
    scores = pd.DataFrame(
        {
            "probe": row.check.title,
            "AUC [95% CI]": interval_text(result.score.auc, list(result.score.auc_interval)),
            "corrected p": f"{row.adjusted_p_value:.3f}",
        }
        for row in probes
        if (result := row.result)
    )
    return render(
        "audit_cell.html",
        title=title,
        counts=severity_counts(findings),
        findings=findings_table(findings)[_SHOWN],
        scores=scores,
        repaired=repaired,
    )
