"""Which class is taken for which: a table for few classes, a picture for many."""

from collections.abc import Sequence

import numpy as np

from covid_lm.html_page import bullet_list, escaped, scrolling
from covid_lm.report.pictures import png

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
