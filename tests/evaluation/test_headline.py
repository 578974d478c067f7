"""The sentence that opens summary, report and model card, for every kind of result."""

import numpy as np
import pytest

from covid_lm.evaluation.headline import headline
from covid_lm.evaluation.metrics import classification_metrics

LABELS = np.arange(100) % 2


def row(policy: str, **figures) -> dict:
    """Metrics of 50 + 50 images; by default 50 are correct, and no figure is above chance."""
    confusion = [[25, 25], [25, 25]]
    plain = {"accuracy": 0.5, "ci95": [0.4, 0.6], "auc": 0.5, "auc_ci95": [0.39, 0.61]}
    counts = {"confusion": confusion, "invalid_by_class": [0, 0]}
    return {"test_policy": policy, **counts, **plain, **figures}


PERFECT = {"accuracy": 1.0, "ci95": [0.963, 1.0], "auc": 1.0, "auc_ci95": [0.95, 1.0]}
RANKED = {"auc": 1.0, "auc_ci95": [0.95, 1.0]}  # all answers are of one class
GOOD = {"accuracy": 0.93, "ci95": [0.862, 0.971], "auc": 0.9712, "auc_ci95": [0.94, 0.9904]}


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            [row("masked", **PERFECT), row("visible", **PERFECT), row("fixed"), row("absent")],
            "This model reads the file name: 100.0% [96.3, 100.0] with names visible, 100.0% "
            "[96.3, 100.0] with one [MASK] per character, 50.0% [40.0, 60.0] with the name held "
            "fixed (chance 50.0%).",
        ),
        (
            [row("masked"), row("visible", **PERFECT), row("fixed"), row("absent")],
            "This model reads the file name: 100.0% [96.3, 100.0] with names visible, 50.0% "
            "[40.0, 60.0] with one [MASK] per character, 50.0% [40.0, 60.0] with the name held "
            "fixed (chance 50.0%).",
        ),
        (
            [row("masked", **RANKED), row("visible"), row("fixed")],
            "This model reads the file name: AUC 0.500 [0.390, 0.610] with names visible, AUC "
            "1.000 [0.950, 1.000] with one [MASK] per character, AUC 0.500 [0.390, 0.610] with "
            "the name held fixed (chance 0.500).",
        ),
        (
            [row("masked"), row("visible"), row("fixed"), row("absent")],
            "No better than chance, with the file name or without: 50.0% [40.0, 60.0] with names "
            "visible, 50.0% [40.0, 60.0] with one [MASK] per character, 50.0% [40.0, 60.0] with "
            "the name held fixed (chance 50.0%).",
        ),
        (
            [row("masked", **GOOD), row("visible", **GOOD), row("fixed", **GOOD)],
            "The file name makes no difference that this test can show: 93.0% [86.2, 97.1] with "
            "names visible, 93.0% [86.2, 97.1] with one [MASK] per character, 93.0% [86.2, 97.1] "
            "with the name held fixed (chance 50.0%).",
        ),
        (
            [row("fixed", **GOOD)],
            "From pixels alone: AUC 0.971 [0.940, 0.990], 93.0% [86.2, 97.1] correct "
            "(chance 50.0%).",
        ),
        (
            [row("absent")],
            "From pixels alone, no better than chance: AUC 0.500 [0.390, 0.610], 50.0% "
            "[40.0, 60.0] correct (chance 50.0%).",
        ),
    ],
)
def test_sentences(rows, sentence):
    assert headline({str(number): line for number, line in enumerate(rows)}) == sentence


def test_chance_is_the_share_of_the_largest_class_with_its_invalid_images():
    probabilities = np.eye(3)[[0, 0, 0, 1, 2, 2]]
    probabilities[2] = np.nan
    labels = np.array([0, 0, 0, 1, 2, 2])
    metrics = classification_metrics(probabilities, labels)
    assert headline({"absent": {"test_policy": "absent", **metrics}}) == (
        "From pixels alone, no better than chance: 83.3% [43.6, 97.0] correct (chance 50.0%)."
    )


def test_a_split_of_one_class_has_no_area():
    metrics = classification_metrics(np.eye(2)[[1, 1, 0, 0]], np.ones(4, int))
    rows = {policy: {"test_policy": policy, **metrics} for policy in ("masked", "fixed")}
    assert headline({"fixed": rows["fixed"]}) == (
        "From pixels alone, no better than chance: AUC unknown, 50.0% [15.0, 85.0] correct "
        "(chance 100.0%)."
    )
    assert headline(rows).startswith("No better than chance, with the file name or without: 50.0%")
