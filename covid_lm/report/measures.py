"""Figures of the report and of the model card, as text and as rows of tables."""

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from sklearn.preprocessing import normalize

from covid_lm.evaluation.statistics import WILSON
from covid_lm.evaluation.summary import factor_rows, interval_text

PROTOCOL_HEADER = ("row", "accuracy", "AUC", "correct", "names in training", "names in tests")
LISTED_PAIRS = 10
RIGHT = (33, 130, 200)
WRONG = (220, 80, 40)


def figure_text(value: float | int | None) -> str:
    """A figure with three decimals, a count without, "-" for an unknown one."""
    if value is None or not math.isfinite(value):
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def estimate_text(row: dict, key: str, interval: str) -> Markup:
    """A figure of a row with its interval: "0.749 [0.680, 0.810]", not escaped in Markdown."""
    return Markup(interval_text(row.get(key), row.get(interval)))


def counts_text(row: dict) -> str:
    """Correct answers as "152/203", "-" if unknown."""
    return f"{row['correct']}/{row['n']}" if "correct" in row and "n" in row else "-"


def interval_method(row: dict) -> str:
    """Method of the 95% interval of a row's accuracy."""
    method = row.get("ci95_method") or "unknown method"
    method = "Wilson interval over images" if method == WILSON else method
    patients = row.get("num_patients")
    return f"{method}, {patients} patients" if patients else method


def caveats(metrics: dict) -> list[str]:
    """Caveats shown under the headline, one sentence each."""
    lines = []
    if metrics.get("early_stopping") == "test":
        lines.append("Early stopping used the test split: these are not held-out figures.")
    row = next(iter(metrics["protocols"].values()))
    if "masked" in (row.get("training_policy"), row.get("test_policy")):
        shown = "One [MASK] per character shows the model the length of the file name"
        lines.append(f"{shown}: compare the rows without it.")
    elif row.get("test_policy") == "visible":
        lines.append("The model reads the file name: compare the rows without it.")
    alone = metrics.get("name_alone")
    if alone:
        gives = f"{counts_text(alone)} (AUC {figure_text(alone.get('auc'))})"
        lines.append(f"The length of the file name alone, without the image, gives {gives}.")
    if metrics.get("weights", "random") == "random":
        lines.append("Training started from random weights, not from a pre-trained model.")
    return [*lines, "Not a medical device: no figure here is evidence about patients."]


def protocol_table(metrics: dict) -> list[list[str]]:
    """Cells of the run's own protocol, other policies, then baselines, as in `PROTOCOL_HEADER`."""
    rows = list(metrics["protocols"].items())
    if metrics.get("name_alone"):
        rows.append(("name length alone", metrics["name_alone"]))
    rows += metrics.get("floors", {}).items()
    return [
        [
            name,
            estimate_text(row, "accuracy", "ci95"),
            estimate_text(row, "auc", "auc_ci95"),
            counts_text(row),
            row.get("training_policy") or "-",
            row.get("test_policy") or "-",
        ]
        for name, row in rows
    ]


def factor_cells(metrics: dict) -> list[list[str]]:
    """Cells of the groups of all factors, as in `FACTOR_HEADER`."""
    rows = factor_rows(metrics.get("factors", {}))
    return [[*texts, Markup(accuracy), Markup(area)] for *texts, accuracy, area in rows]


def confusion_cells(confusion: Sequence[Sequence[int]]) -> list[list[tuple[int, str]]]:
    """Count and CSS colour of each cell: darker for a larger share of its row (its true class)."""
    shares = normalize(confusion, "l1").tolist()
    return [
        [
            (count, f"rgba{(*(RIGHT if true == answer else WRONG), round(0.6 * share, 3))}")
            for answer, (count, share) in enumerate(zip(counts, shares[true], strict=True))
        ]
        for true, counts in enumerate(confusion)
    ]


def confusion_picture(confusion: Sequence[Sequence[int]]) -> np.ndarray:
    """One pixel per cell, uint8 [classes, classes, 4]; opacity is the root of the row's share."""
    shares = normalize(confusion, "l1")
    picture = np.zeros([*shares.shape, 4], np.uint8)
    picture[..., :3] = WRONG
    picture[np.diag_indices(len(shares))] = (*RIGHT, 0)
    picture[..., 3] = np.rint(255 * np.sqrt(shares))
    return picture


def frequent_confusions(
    confusion: Sequence[Sequence[int]], classes: Sequence[str]
) -> list[tuple[str, str, int]]:
    """True class, predicted class and count of the most frequent errors, at most 10."""
    wrong = np.array(confusion)
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:LISTED_PAIRS]
    pairs = [(*divmod(int(place), len(wrong)), int(wrong.flat[place])) for place in order]
    return [(classes[true], classes[answer], count) for true, answer, count in pairs if count]


def most_confident(
    probabilities: np.ndarray, labels: np.ndarray, correct: bool, count: int
) -> np.ndarray:
    """Indices of the correct, or of the wrong, answers with the highest probability, highest first.

    Args:
        probabilities: float32 [n, classes].
        labels: int [n].
        correct: true for the correct answers.
        count: the largest number of indices.
    """
    chosen = np.flatnonzero((probabilities.argmax(axis=1) == labels) == correct)
    order = np.argsort(-probabilities[chosen].max(axis=1, initial=0), kind="stable")
    return chosen[order[:count]]


def answer_text(probabilities: np.ndarray, label: int, classes: Sequence[str]) -> str:
    """Prediction and true class of one image, from its probabilities, float32 [classes]."""
    answer = int(np.argmax(probabilities))
    truth = f"true class {classes[label]} ({probabilities[label]:.3f})"
    predicted = f"predicted {classes[answer]} ({probabilities[answer]:.3f})"
    return f"{predicted}, {'correct' if answer == label else truth}"
