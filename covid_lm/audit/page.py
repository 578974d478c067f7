"""The audit as one HTML page: no script, no outside resource, light and dark, any width."""

import io
from collections.abc import Sequence

from PIL import Image

from covid_lm.audit.audit_report import count_line, dependence_line, split_lines
from covid_lm.audit.data_audit import AuditReport, ProbeRow
from covid_lm.audit.features.observations import Observation
from covid_lm.audit.findings import LEAKAGE_CLASSES, Finding
from covid_lm.audit.probes import FOLDS, ProbeResult
from covid_lm.data.preview import gray_levels
from covid_lm.data.records import ImageRecord
from covid_lm.html_page import bullet_list, data_uri, escaped, html_page, table

THUMBNAIL_SIDE = 160
_STYLE = """
section.finding { background: var(--card); border-left: .3rem solid var(--line);
  border-radius: .3rem; padding: .75rem 1rem; margin: .75rem 0; }
section.high { border-color: var(--high); } section.medium { border-color: var(--medium); }
section.low { border-color: var(--low); }
.severity { font-weight: 700; text-transform: uppercase; font-size: .8rem; margin-right: .5rem; }
.high .severity { color: var(--high); } .medium .severity { color: var(--medium); }
.low .severity { color: var(--low); } .info .severity { color: var(--info); }
.text { text-align: left; }
.pairs { display: flex; flex-wrap: wrap; gap: 1rem; margin: .5rem 0; }
figure { width: 21rem; max-width: 100%; } figure div { display: flex; gap: .25rem; }
figure img { width: calc(50% - .125rem); aspect-ratio: 1; object-fit: contain; background: #000; }
svg { vertical-align: middle; width: 8rem; height: 1rem; }
svg .axis { stroke: var(--line); } svg .range { stroke: var(--bar); stroke-width: 2; }
svg circle { fill: var(--bar); }
"""


def html_report(report: AuditReport) -> str:
    """The page; well-formed as XML, too."""
    title = f"Audit of {report.dataset}"
    findings = "".join(_finding(finding, report.observations) for finding in report.findings)
    body = [
        f"<h1>{escaped(title)}</h1>",
        "<p>What could tell the label besides the picture?</p>",
        bullet_list([*split_lines(report), dependence_line(report), report.not_probed]),
        f"<p><strong>{escaped(_capitalized(count_line(report)))}.</strong></p>",
        "<h2>Findings</h2>",
        findings or "<p>None.</p>",
        _probe_section(report.probes),
        _model_section(report.model),
        _unreadable_section(report),
        _legend(),
    ]
    return html_page(title, _STYLE, body)


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _finding(finding: Finding, observations: Sequence[Observation]) -> str:
    leakage = finding.leakage_class
    source = f"{leakage}: {LEAKAGE_CLASSES[leakage]}" if leakage else ""
    parts = [
        f'<section class="finding {finding.severity}">',
        f'<h3><span class="severity">{finding.severity}</span>{escaped(finding.title)}</h3>',
        f"<p>{escaped(finding.summary)}</p>",
        f"<p>{escaped(finding.advice)}</p>",
    ]
    if finding.pairs:
        figures = [
            _figure(observations[i].record, observations[j].record) for i, j in finding.pairs
        ]
        parts.append(f'<div class="pairs">{"".join(figures)}</div>')
    if finding.examples:
        parts.append(
            f'<details class="dim"><summary>{len(finding.examples)} example file(s)</summary>'
            f"{bullet_list(finding.examples)}</details>"
        )
    if source:
        parts.append(f'<p class="dim">{escaped(source)}</p>')
    return "".join([*parts, "</section>\n"])


def _figure(first: ImageRecord, second: ImageRecord) -> str:
    images = "".join(
        f'<img alt="{escaped(record.filename)}" src="{_thumbnail(record)}"/>'
        for record in (first, second)
    )
    names = " = ".join(f"{escaped(r.filename)} ({r.split})" for r in (first, second))
    return f"<figure><div>{images}</div><figcaption>{names}</figcaption></figure>"


def _thumbnail(record: ImageRecord) -> str:
    """A small gray JPEG as a data URI."""
    with Image.open(io.BytesIO(record.read())) as image:
        image.load()
        small = Image.fromarray(gray_levels(image))
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return data_uri(buffer.getvalue(), "image/jpeg")


def _probe_section(probes: Sequence[ProbeRow]) -> str:
    if not probes:
        return ""
    header = ("probe", "AUC", "", "95% interval", "accuracy", "p", "corrected", "test split")
    rows = [_probe_row(row, row.result) for row in probes if row.result]
    return (
        f'<h2>Probes</h2><p class="dim">Scored out of fold ({FOLDS} folds, no patient on both '
        "sides of any); intervals and permutations over patients. The axis runs from 0 to 1 with "
        "a mark at 0.5, a guess. Far below 0.5 lies what is balanced between the classes by "
        f"design.</p>{table(header, rows, 'Probes')}"
    )


def _probe_row(row: ProbeRow, result: ProbeResult) -> list[str]:
    score, test = result.score, result.test
    low, high = score.auc_interval
    return [
        escaped(row.check.title),
        f"{score.auc:.3f}",
        _interval_drawing(score.auc, low, high),
        f"{low:.3f} to {high:.3f}",
        f"{score.accuracy:.3f}",
        f"{result.p_value:.3f}",
        f"{row.adjusted_p_value:.3f}",
        f"{test.correct}/{test.n}" if test else "-",
    ]


def _interval_drawing(value: float, low: float, high: float) -> str:
    return (
        '<svg viewBox="-3 0 106 10" role="img" preserveAspectRatio="none">'
        f"<title>{value:.3f}</title>"
        '<line class="axis" x1="0" y1="5" x2="100" y2="5"/>'
        '<line class="axis" x1="50" y1="0" x2="50" y2="10"/>'
        f'<line class="range" x1="{100 * low:.1f}" y1="5" x2="{100 * high:.1f}" y2="5"/>'
        f'<circle cx="{100 * value:.1f}" cy="5" r="2.5"/></svg>'
    )


def _model_section(model: dict) -> str:
    if not model:
        return ""
    header = ("edit", "names", "mean change", "largest", "other class", "accuracy", "AUC", "bits")
    rows = [
        [
            escaped(row["edit"]),
            escaped(row["policy"]),
            f"{row['mean_change']:.3f}",
            f"{row['largest_change']:.3f}",
            f"{row['flipped']}/{model['images']}",
            f"{row['accuracy']:.3f}",
            "-" if row["auc"] is None else f"{row['auc']:.3f}",
            "same" if row["identical"] else "differ",
        ]
        for row in model["rows"]
    ]
    shares = [
        f"Attribution (gradient x input), {policy} names: "
        + ", ".join(f"{kind} {share:.1%}" for kind, share in kinds.items())
        for policy, kinds in model["attribution"].items()
    ]
    return (
        f"<h2>Model</h2><p>{escaped(model['model'])}, trained under the "
        f"{escaped(model['protocol'])} protocol, on {model['images']} test images. Changes are "
        "against the unchanged input."
        f"</p>{table(header, rows, 'Model checks')}{bullet_list(shares)}"
    )


def _unreadable_section(report: AuditReport) -> str:
    if not report.unreadable:
        return ""
    lines = [f"{item.record.path}: {item.reason}" for item in report.unreadable]
    return f"<h2>Unreadable files</h2>{bullet_list(lines)}"


def _legend() -> str:
    lines = [f"{key}: {meaning}" for key, meaning in LEAKAGE_CLASSES.items()]
    return (
        '<h2>Kinds of leakage</h2><p class="dim">After Kapoor and Narayanan (2023), Leakage and '
        "the reproducibility crisis in machine-learning-based science, Patterns 4 (9).</p>"
        f'<div class="dim">{bullet_list(lines)}</div>'
    )
