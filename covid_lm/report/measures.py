"""Figures of the report and of the model card, as text and as rows of tables."""

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from covid_lm.evaluation.statistics import WILSON

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
POLICY_MEANINGS = {
    "visible": "its characters",
    "masked": "one [MASK] per character",
    "fixed": "24 [MASK]s for any name",
    "absent": "none",
}
PROTOCOL_HEADER = ("row", "accuracy", "AUC", "correct", "names in training", "names in tests")
TABLE_CLASSES = 12  # with more classes the confusion matrix is a picture
LISTED_PAIRS = 10
RIGHT = (33, 130, 200)
WRONG = (220, 80, 40)


def figure_text(value: float | int | None) -> str:
    """A figure with three decimals, a count without, "-" for an unknown one."""
    if value is None or not math.isfinite(value):
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def interval_text(bounds: Sequence[float | None] | None) -> str:
    """An interval as " [low, high]", empty if unknown; its brackets are not escaped in Markdown."""
    if not bounds or any(bound is None for bound in bounds):
        return ""
    return Markup(f" [{bounds[0]:.3f}, {bounds[1]:.3f}]")


def estimate_text(row: dict, key: str, interval: str) -> str:
    """A figure of a row with its interval: "0.749 [0.680, 0.810]"."""
    return figure_text(row.get(key)) + interval_text(row.get(interval))


def counts_text(row: dict) -> str:
    """Correct answers as "152/203", "-" if unknown."""
    if row.get("correct") is None or row.get("n") is None:
        return "-"
    return f"{row['correct']}/{row['n']}"


def interval_method(row: dict) -> str:
    """Method of the 95% interval of a row's accuracy."""
    method = row.get("ci95_method") or "unknown method"
    method = "Wilson interval over images" if method == WILSON else method
    patients = row.get("num_patients")
    return f"{method}, {patients} patients" if patients else method


def headline_text(metrics: dict) -> str:
    """The main result in one sentence, without its full stop."""
    name, row = next(iter(metrics["protocols"].items()))
    text = metrics.get("headline") or (
        f"{counts_text(row)} images of {metrics.get('dataset', 'an unknown data set')}, "
        f"{metrics.get('split', 'unknown')} split, are classified correctly under the {name} "
        "protocol"
    )
    return text.rstrip(".")


def caveats(metrics: dict) -> list[str]:
    """Caveats shown under the headline figure, one sentence each."""
    lines = []
    if metrics.get("early_stopping") == "test":
        lines.append("Early stopping used the test split: these are not held-out figures.")
    row = next(iter(metrics["protocols"].values()))
    if "masked" in (row.get("training_policy"), row.get("test_policy")):
        lines.append(
            "One [MASK] per character shows the model the length of the file name: compare the "
            "rows without it."
        )
    elif row.get("test_policy") == "visible":
        lines.append("The model reads the file name: compare the rows without it.")
    alone = metrics.get("name_alone")
    if alone and not metrics.get("headline"):  # which has this figure, too
        lines.append(
            f"The length of the file name alone, without the image, gives {counts_text(alone)} "
            f"(AUC {figure_text(alone.get('auc'))})."
        )
    if metrics.get("weights", "random") == "random":
        lines.append("Training started from random weights, not from a pre-trained model.")
    return [*lines, "Not a medical device: no figure here is evidence about patients."]


def protocol_rows(metrics: dict) -> list[tuple[str, dict]]:
    """Names and metrics of all rows: the run's own protocol, other policies, then baselines."""
    rows = list(metrics["protocols"].items())
    if metrics.get("name_alone"):
        rows.append(("name length alone", metrics["name_alone"]))
    return [*rows, *(metrics.get("floors") or {}).items()]


def protocol_table(metrics: dict) -> list[list[str]]:
    """The cells of all rows, in the order of `PROTOCOL_HEADER`."""
    return [
        [
            name,
            estimate_text(row, "accuracy", "ci95"),
            estimate_text(row, "auc", "auc_ci95"),
            counts_text(row),
            row.get("training_policy") or "-",
            row.get("test_policy") or "-",
        ]
        for name, row in protocol_rows(metrics)
    ]


def policy_meanings(metrics: dict) -> str:
    """Tokens that the policies in the table put in place of the file name; "" without a policy."""
    keys = ("training_policy", "test_policy")
    used = {row.get(key) for _, row in protocol_rows(metrics) for key in keys}
    return ", ".join(f"{text} ({name})" for name, text in POLICY_MEANINGS.items() if name in used)


def more_figures(protocols: dict[str, dict]) -> tuple[list[list[str]], list[str]]:
    """Further figures of each protocol.

    Returns:
        Rows of a table: the figure's name and its value under each protocol; and the names of the
        figures that no protocol has.
    """
    rows, unknown = [], []
    for label, key in MORE_FIGURES.items():
        if any(key in row for row in protocols.values()):
            rows.append([label, *(figure_text(row.get(key)) for row in protocols.values())])
        else:
            unknown.append(label)
    wilson = [interval_text(row.get("wilson95")).strip() or "-" for row in protocols.values()]
    return [*rows, ["Wilson interval of the accuracy, over images", *wilson]], unknown


def setting_text(value: object) -> str:
    """A value of a run's configuration on one line."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {setting_text(part)}" for key, part in value.items())
    return "-" if value is None else str(value)


def confusion_cells(confusion: Sequence[Sequence[int]]) -> list[list[tuple[int, str]]]:
    """Count and CSS colour of each cell: darker for a larger share of its row (its true class)."""
    shares = _row_shares(np.asarray(confusion)).tolist()
    return [
        [
            (count, f"rgba{(*(RIGHT if true == answer else WRONG), round(0.6 * share, 3))}")
            for answer, (count, share) in enumerate(zip(counts, shares[true], strict=True))
        ]
        for true, counts in enumerate(confusion)
    ]


def confusion_picture(confusion: Sequence[Sequence[int]]) -> np.ndarray:
    """One pixel per cell, uint8 [classes, classes, 4]; opacity is the root of the row's share."""
    shares = _row_shares(np.asarray(confusion))
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


def worst_mistakes(probabilities: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Indices of the wrong answers with the highest probability, highest first: int [<= count].

    Args:
        probabilities: float32 [n, classes].
        labels: int [n].
        count: the largest number of indices.
    """
    answers = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(answers != labels)
    order = np.argsort(-probabilities[wrong, answers[wrong]], kind="stable")
    return wrong[order[:count]]


def surest_right(probabilities: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Same as `worst_mistakes`, for the correct answers."""
    right = np.flatnonzero(probabilities.argmax(axis=1) == labels)
    order = np.argsort(-probabilities[right, labels[right]], kind="stable")
    return right[order[:count]]


def answer_text(probabilities: np.ndarray, label: int, classes: Sequence[str]) -> str:
    """Prediction and true class of one image, from its probabilities, float32 [classes]."""
    answer = int(np.argmax(probabilities))
    predicted = f"predicted {classes[answer]} ({probabilities[answer]:.3f})"
    if answer == label:
        return f"{predicted}, correct"
    return f"{predicted}, true class {classes[label]} ({probabilities[label]:.3f})"


def _row_shares(counts: np.ndarray) -> np.ndarray:
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
