"""The report's figures in words and tables: headline, protocols, the run's settings."""

import math
from collections.abc import Sequence

import numpy as np

from covid_lm.data.preview import thumbnail
from covid_lm.data.records import read_image
from covid_lm.html_page import bullet_list, data_uri, elided, escaped, scrolling, table
from covid_lm.pipeline.decoded import DecodedRecords
from covid_lm.report.pictures import png, rgb

MORE_FIGURES = {
    "balanced accuracy": "balanced_accuracy",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "F1": "f1",
    "average precision": "average_precision",
    "Brier score": "brier",
    "calibration error (ECE)": "ece",
    "images": "n",
    "patients": "num_patients",
    "not decodable": "invalid",
}
POLICY_WORDS = {
    "visible": "the name's characters",
    "masked": "one [MASK] per character",
    "fixed": "24 [MASK]s whatever the name",
    "absent": "nothing",
}


def figure_text(value: float | int | None) -> str:
    """A figure for a table cell: three decimals, a count as it is, "-" where unknown."""
    if value is None or not math.isfinite(value):
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def interval_text(bounds: Sequence[float | None] | None) -> str:
    """An interval as " [low, high]", nothing where it is unknown."""
    if not bounds or any(bound is None for bound in bounds):
        return ""
    return f" [{bounds[0]:.3f}, {bounds[1]:.3f}]"


def counts_text(row: dict) -> str:
    """Right answers as "152/203", "-" where unknown."""
    if row.get("correct") is None or row.get("n") is None:
        return "-"
    return f"{row['correct']}/{row['n']}"


def interval_method(row: dict) -> str:
    """How the row's interval of the accuracy was made."""
    method = row.get("ci95_method") or "of an unknown kind"
    method = "Wilson, over images" if method == "wilson" else method
    patients = row.get("num_patients")
    return f"{method}, {patients} patients" if patients else method


def headline_section(metrics: dict) -> str:
    """The run's own figure, large, with its interval and what it must not be taken for."""
    name, row = next(iter(metrics["protocols"].items()))
    text = metrics.get("headline") or (
        f"{counts_text(row)} images of {metrics.get('dataset', 'an unknown data set')}, "
        f"{metrics.get('split', 'unknown')} split, are classified correctly under the {name} "
        "protocol"
    )
    text = text.rstrip(".")
    area = f"{figure_text(row.get('auc'))}{interval_text(row.get('auc_ci95'))}"
    return (
        f'<p class="headline"><strong>{figure_text(row.get("accuracy"))}</strong> accuracy'
        f'<span class="whole">{interval_text(row.get("ci95"))}</span></p>'
        f"<p>{escaped(text)}. AUC {area}; 95% "
        f"intervals: {escaped(interval_method(row))}.</p>{bullet_list(warnings(metrics))}"
    )


def warnings(metrics: dict) -> list[str]:
    """What takes from the headline's worth."""
    lines = []
    if metrics.get("early_stopping") == "test":
        lines.append("Early stopping looked at the test split: these are not held-out figures.")
    row = next(iter(metrics["protocols"].values()))
    if "masked" in (row.get("training_policy"), row.get("test_policy")):
        lines.append(
            "One [MASK] per character leaves the length of the file name to be counted: see the "
            "rows without it."
        )
    elif row.get("test_policy") == "visible":
        lines.append("The file name's characters are read: see the rows without them.")
    alone = metrics.get("name_alone")
    if alone:
        lines.append(
            f"The file name alone, without any picture, classifies {counts_text(alone)} correctly "
            f"(AUC {figure_text(alone.get('auc'))})."
        )
    if metrics.get("weights", "random") == "random":
        lines.append("The weights were random at the start, not pretrained.")
    return [*lines, "Not a medical device: no figure here says anything about patients."]


def protocol_section(metrics: dict) -> str:
    """All rows: the run's own first, then the other policies, then what needs no model."""
    rows = [(name, row) for name, row in metrics["protocols"].items()]
    if metrics.get("name_alone"):
        rows.append(("file name alone", metrics["name_alone"]))
    rows += (metrics.get("floors") or {}).items()
    cells = [
        [
            escaped(name),
            f"{figure_text(row.get('accuracy'))}{interval_text(row.get('ci95'))}",
            f"{figure_text(row.get('auc'))}{interval_text(row.get('auc_ci95'))}",
            counts_text(row),
            escaped(row.get("training_policy") or "-"),
            escaped(row.get("test_policy") or "-"),
        ]
        for name, row in rows
    ]
    header = ("row", "accuracy", "AUC", "correct", "trained on", "tested on")
    used = {row.get(key) for _, row in rows for key in ("training_policy", "test_policy")}
    words = [f"{policy}: {word}" for policy, word in POLICY_WORDS.items() if policy in used]
    meaning = f" What stands for the file name: {'; '.join(words)}." if words else ""
    methods = sorted({interval_method(row) for row in metrics["protocols"].values()})
    return (
        '<h2 id="protocols">Protocols</h2><p class="dim">With 95% intervals (accuracy: '
        f"{escaped('; '.join(methods))}).{escaped(meaning)}</p>"
        f"{table(header, cells, 'Figures by protocol')}{_more_figures(metrics['protocols'])}"
    )


def _more_figures(protocols: dict[str, dict]) -> str:
    positive = next((r["positive_class"] for r in protocols.values() if "positive_class" in r), "")
    known = [k for k, key in MORE_FIGURES.items() if any(key in r for r in protocols.values())]
    cells = [
        [label, *(figure_text(row.get(MORE_FIGURES[label])) for row in protocols.values())]
        for label in known
    ]
    wilson = [interval_text(row.get("wilson95")).strip() or "-" for row in protocols.values()]
    cells.append(["accuracy's Wilson interval over images", *wilson])
    about = f"<p class='dim'>The positive class is {escaped(positive)}.</p>" if positive else ""
    figures = table(("", *protocols), cells, "More figures by protocol")
    unknown = ", ".join(label for label in MORE_FIGURES if label not in known)
    about += f"<p class='dim'>Unknown: {unknown}.</p>" if unknown else ""
    return f"<h3>More figures</h3>{about}{figures}"


def settings_section(run: dict) -> str:
    """What the run was told, of the section `run` of its config."""
    items = "".join(
        f"<dt>{escaped(key)}</dt><dd>{escaped(_setting(value))}</dd>" for key, value in run.items()
    )
    return f'<h2 id="settings">Settings</h2><dl class="settings">{items}</dl>'


def _setting(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_setting(part)}" for key, part in value.items())
    return "-" if value is None else str(value)


TABLE_CLASSES = 12
LISTED = 10
RIGHT = (33, 130, 200)
WRONG = (220, 80, 40)


def confusion_section(confusion: Sequence[Sequence[int]] | None, classes: Sequence[str]) -> str:
    """The matrix, rows true and columns predicted, darker for a larger share of its row."""
    heading = '<h2 id="confusion">Confusion matrix</h2>'
    if not confusion:
        return f"{heading}<p>unknown: these metrics hold no confusion matrix.</p>"
    counts = np.asarray(confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    if len(classes) <= TABLE_CLASSES:
        return heading + _table(counts, shares, classes)
    return heading + _heat_map(counts, shares, classes)


def _table(counts: np.ndarray, shares: np.ndarray, classes: Sequence[str]) -> str:
    head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in classes)
    rows = []
    for true, name in enumerate(classes):
        cells = "".join(
            f'<td style="background: rgba{(*(RIGHT if true == k else WRONG), round(0.6 * s, 3))}">'
            f"{counts[true, k]}</td>"
            for k, s in enumerate(shares[true].tolist())
        )
        rows.append(f'<tr><th scope="row">{escaped(name)}</th>{cells}</tr>')
    table = (
        f'<table class="confusion"><thead><tr><th scope="col">true \\ predicted</th>{head}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table>"
    )
    return scrolling(table, "Confusion matrix")


def _heat_map(counts: np.ndarray, shares: np.ndarray, classes: Sequence[str]) -> str:
    picture = np.zeros([*counts.shape, 4], np.uint8)
    picture[..., :3] = WRONG
    picture[np.diag_indices(len(classes))] = (*RIGHT, 0)
    picture[..., 3] = np.rint(255 * np.sqrt(shares))
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:LISTED]
    pairs = [(*np.unravel_index(place, wrong.shape), wrong.flat[place]) for place in order]
    lines = [f"{classes[t]} taken for {classes[p]}: {count}" for t, p, count in pairs if count]
    right = int(np.trace(counts))
    return (
        f'<figure><img class="heat" alt="Confusion of {len(classes)} classes: {right} of '
        f'{int(counts.sum())} on the diagonal" src="{png(picture)}"/><figcaption>Rows: true class, '
        "columns: predicted, in the data set's order. Strength is the square root of the share of "
        "the row; blue is right, orange wrong.</figcaption></figure>"
        f"<p>Most frequent confusions:</p>{bullet_list(lines) or '<p>none</p>'}"
    )


MAX_MISTAKES = 8
THUMBNAIL_SIDE = 200


def worst_mistakes(probabilities: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Indices of the wrong answers of the highest probability, highest first: int [<= count].

    Args:
        probabilities: float32 [n, classes].
        labels: int [n].
    """
    answers = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(answers != labels)
    order = np.argsort(-probabilities[wrong, answers[wrong]], kind="stable")
    return wrong[order[:count]]


def surest_right(probabilities: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """As `worst_mistakes`, of the right answers."""
    right = np.flatnonzero(probabilities.argmax(axis=1) == labels)
    order = np.argsort(-probabilities[right, labels[right]], kind="stable")
    return right[order[:count]]


def answer_text(probabilities: np.ndarray, label: int, classes: Sequence[str]) -> str:
    """One image's answer and truth in words.

    Args:
        probabilities: float32 [classes].
    """
    answer = int(np.argmax(probabilities))
    predicted = f"predicted {classes[answer]} ({probabilities[answer]:.3f})"
    if answer == label:
        return f"{predicted}, right"
    return f"{predicted}, true {classes[label]} ({probabilities[label]:.3f})"


def mistakes_section(
    images: DecodedRecords, probabilities: np.ndarray, classes: Sequence[str]
) -> str:
    """The worst mistakes with their thumbnails."""
    labels = np.array([record.label for record in images.records])
    worst = worst_mistakes(probabilities, labels, MAX_MISTAKES)
    heading = '<h2 id="mistakes">Worst mistakes</h2>'
    if not len(worst):
        return f"{heading}<p>None: every image was classified correctly.</p>"
    figures = []
    for index in worst:
        record = images.records[index]
        text = answer_text(probabilities[index], record.label, classes)
        jpeg = thumbnail(read_image(record), THUMBNAIL_SIDE)
        shown = data_uri(jpeg, "image/jpeg") if jpeg else png(rgb(images.pixels[index]))
        figures.append(
            f'<li><figure><img class="thumbnail" alt="{escaped(record.filename)}" '
            f'src="{shown}"/>'
            f"<figcaption>{escaped(elided(record.filename))}<br/>{escaped(text)}</figcaption>"
            "</figure></li>"
        )
    return (
        f'{heading}<p class="dim">The wrong answers of the highest probability, highest first.'
        f'</p><ul class="gallery">{"".join(figures)}</ul>'
    )
