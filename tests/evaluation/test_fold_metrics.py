"""Pooled figures of folds against counts by hand."""

import numpy as np
import pytest

from covid_lm.data.records import ImageRecord
from covid_lm.evaluation.fold_metrics import FoldResult, fold_figures
from covid_lm.evaluation.summary import fold_table

CLASSES = ("negative", "positive")


def records(patients) -> list[ImageRecord]:
    labels = [0, 1, 0, 1, 1]
    return [
        ImageRecord(f"{place}.png", label, "val", f"{place}.png", lambda: b"", patient)
        for place, (label, patient) in enumerate(zip(labels, patients, strict=True))
    ]


def answers(*positive: float) -> np.ndarray:
    return np.array([[1 - p, p] for p in positive])


RESULTS = [
    FoldResult(np.array([0, 3]), np.stack([answers(0.1, 0.4), answers(0.2, 0.9)]), [0.7, 0.6]),
    FoldResult(np.array([1, 2, 4]), np.stack([answers(0.9, 0.8, 0.3)] * 2), [0.5, 0.4]),
]


def test_figures_are_pooled_over_the_folds():
    figures = fold_figures(RESULTS, records("abccd"), CLASSES)
    first, second = figures["epochs"]
    assert [row["epoch"] for row in (first, second)] == [1, 2]
    # epoch 1: images 0, 1 right, 2, 3, 4 wrong; of 6 pairs (0: .1, 2: .8 | 3: .4, 1: .9, 4: .3)
    assert (first["n"], first["correct"]) == (5, 2)
    assert first["auc"] == pytest.approx(4 / 6)
    probabilities = [0.9, 0.4, 0.9, 0.2, 0.3]  # of the true class of images 0, 3, 1, 2, 4
    assert first["log_loss"] == pytest.approx(-np.mean(np.log(probabilities)))
    assert (second["correct"], second["auc"]) == (3, pytest.approx(5 / 6))
    assert first["ci95_method"] == "patient bootstrap"
    assert [row["correct"] for row in figures["by_fold"][0]] == [1, 2]
    assert [row["training_loss"] for row in figures["by_fold"][1]] == [0.5, 0.4]


def test_each_image_keeps_its_predictions():
    rows = fold_figures(RESULTS, records("abccd"), CLASSES)["out_of_fold"]
    assert rows[1] == {
        "file": "3.png",
        "label": "positive",
        "fold": 1,
        "probabilities": [[0.6, 0.4], [0.1, 0.9]],
    }
    assert [row["fold"] for row in rows] == [1, 1, 2, 2, 2]


def test_intervals_are_over_images_only_where_no_patient_is_known():
    unknown = fold_figures(RESULTS, records([None] * 5), CLASSES)
    assert unknown["epochs"][0]["ci95_method"] == "wilson"
    some = fold_figures(RESULTS, records(["a", None, "a", None, None]), CLASSES)
    assert some["epochs"][0]["ci95_method"] == "patient bootstrap"


def test_the_table():
    figures = fold_figures(RESULTS, records([None] * 5), CLASSES)
    report = {"dataset": "d", "folds": 3, "folds_done": 2, "patients": 0, **figures}
    lines = fold_table(report).splitlines()
    assert lines[0] == "d: 2 of 3 folds done, 5 images held out, 0 patients known"
    assert lines[2].startswith("1      0.400 [0.118, 0.769]  0.667 [")
    assert lines[-1] == "95% CI: accuracy wilson, AUC image bootstrap"
