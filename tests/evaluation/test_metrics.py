"""Every metric against an independent computation, with exact values for small cases."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest

from covid_lm.evaluation.metrics import classification_metrics
from covid_lm.evaluation.summary import metrics_table

pytestmark = pytest.mark.filterwarnings("error")

POSITIVE = [0.9, 0.8, 0.8, 0.6, 0.5, 0.4, 0.3, np.nan]  # two ties, one of them with itself
LABELS = np.array([1, 1, 0, 1, 0, 0, 1, 1])


def binary(positive) -> np.ndarray:
    positive = np.array(positive)
    return np.stack([1 - positive, positive], axis=1)


def wilson(correct: int, n: int) -> list[float]:
    """The textbook's formula."""
    z, share = 1.959963984540054, correct / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return [max(centre - half, 0), min(centre + half, 1)]


def area_by_pairs(scores, positive) -> Fraction:
    """The share of (positive, negative) pairs in the right order, equal ones counted half."""
    above = scores[positive][:, None]
    below = scores[~positive][None]
    return Fraction(int(2 * np.sum(above > below) + np.sum(above == below)), 2 * above.size) / (
        below.size
    )


def precision_by_thresholds(scores, positive) -> Fraction:
    """The precision at each threshold, weighted by the recall that it adds."""
    total, found = Fraction(0), 0
    for threshold in sorted(set(scores), reverse=True):
        hits, shown = int(np.sum(positive[scores >= threshold])), int(np.sum(scores >= threshold))
        total += Fraction(hits - found, int(positive.sum())) * Fraction(hits, shown)
        found = hits
    return total


def test_two_classes_with_ties_and_an_invalid_image():
    row = classification_metrics(binary(POSITIVE), LABELS, ("healthy", "ill"))
    assert (row["n"], row["correct"], row["invalid"]) == (8, 5, 1)
    assert row["accuracy"] == 5 / 8
    assert row["confusion"] == [[2, 1], [1, 3]]  # .5 against .5 is the first class
    assert row["invalid_by_class"] == [0, 1]
    assert row["positive_class"] == "ill"
    # the invalid image is one of the five ill ones that were not found
    assert row["sensitivity"] == pytest.approx(3 / 5)
    assert row["specificity"] == pytest.approx(2 / 3)
    assert row["precision"] == pytest.approx(3 / 4)
    assert row["f1"] == pytest.approx(2 / (5 / 3 + 4 / 3))
    assert row["balanced_accuracy"] == pytest.approx(19 / 30)
    # pairs in order: 3 + 2.5 + 2 + 0 of 4 x 3
    assert row["auc"] == pytest.approx(7.5 / 12)
    assert row["average_precision"] == pytest.approx(1 / 4 + 1 / 6 + 3 / 16 + 1 / 7)
    assert row["brier"] == pytest.approx(1.75 / 7)
    assert row["ece"] == pytest.approx((0.5 + 2 * 0.4 + 0.7 + 2 * 0.3 + 0.1) / 7)
    assert not {"macro_f1", "macro_precision", "macro_recall"} & set(row)


def test_reliability_bins_hold_their_upper_edge():
    row = classification_metrics(binary(POSITIVE), LABELS)
    filled = {(b["low"], b["high"]): b for b in row["reliability"] if b["n"]}
    assert [b["n"] for b in row["reliability"]] == [0, 0, 0, 0, 1, 2, 1, 2, 1, 0]
    assert filled[0.5, 0.6]["accuracy"] == 1
    assert filled[0.5, 0.6]["mean_confidence"] == pytest.approx(0.6)
    assert filled[0.7, 0.8]["accuracy"] == 0.5
    assert row["reliability"][0] == {
        "low": 0.0,
        "high": 0.1,
        "n": 0,
        "mean_confidence": None,
        "accuracy": None,
    }


@pytest.mark.parametrize(("num_classes", "n"), [(3, 40), (10, 200), (100, 600)])
def test_more_classes_against_loops(num_classes, n):
    rng = np.random.default_rng(num_classes)
    labels = np.arange(n) % num_classes
    scores = rng.integers(1, 5, (n, num_classes)) + 4.0 * (rng.random(n) < 0.7)[:, None] * (
        labels[:, None] == np.arange(num_classes)
    )
    probabilities = scores / scores.sum(axis=1, keepdims=True)
    probabilities[::17, 0] = np.nan
    row = classification_metrics(probabilities.astype(np.float32), labels)
    shown = probabilities.astype(np.float32).astype(float)
    confusion = [[0] * num_classes for _ in range(num_classes)]
    invalid, brier = 0, 0.0
    for answer, label in zip(shown.tolist(), labels.tolist(), strict=True):
        if math.isnan(answer[0]):
            invalid += 1
            continue
        confusion[label][answer.index(max(answer))] += 1
        brier += sum((p - (k == label)) ** 2 for k, p in enumerate(answer))
    hits = [confusion[k][k] for k in range(num_classes)]
    support = [int(np.sum(labels == k)) for k in range(num_classes)]
    predicted = [sum(line[k] for line in confusion) for k in range(num_classes)]
    recall = [Fraction(h, s) for h, s in zip(hits, support, strict=True)]
    precision = [Fraction(h, max(p, 1)) for h, p in zip(hits, predicted, strict=True)]
    harmonic = [2 * p * r / (p + r) if p + r else 0 for p, r in zip(precision, recall, strict=True)]
    assert (row["confusion"], row["invalid"]) == (confusion, invalid)
    assert (row["correct"], row["accuracy"]) == (sum(hits), sum(hits) / n)
    assert sum(map(sum, row["confusion"])) + sum(row["invalid_by_class"]) == n
    assert row["balanced_accuracy"] == row["macro_recall"]
    assert row["macro_recall"] == pytest.approx(float(sum(recall) / num_classes))
    assert row["macro_f1"] == pytest.approx(float(sum(harmonic) / num_classes))
    if min(predicted):
        assert row["macro_precision"] == pytest.approx(float(sum(precision) / num_classes))
    else:
        assert row["macro_precision"] is None
    assert row["brier"] == pytest.approx(brier / (n - invalid))
    valid = ~np.isnan(shown[:, 0])
    one_against_rest = [(shown[valid, k], labels[valid] == k) for k in range(num_classes)]
    areas = [area_by_pairs(*column) for column in one_against_rest]
    precisions = [precision_by_thresholds(*column) for column in one_against_rest]
    assert row["auc"] == pytest.approx(float(sum(areas) / num_classes))
    assert row["average_precision"] == pytest.approx(float(sum(precisions) / num_classes))
    assert not {"sensitivity", "specificity", "f1", "positive_class"} & set(row)


def test_the_calibration_error_of_many_images_is_summed_over_images():
    rng = np.random.default_rng(0)
    positive = rng.random(500)
    labels = (rng.random(500) < positive**2).astype(int)
    row = classification_metrics(binary(positive), labels)
    confidence = np.maximum(positive, 1 - positive)
    correct = (positive > 0.5) == labels
    error = 0.0
    for tenth in range(10):
        inside = np.ceil(confidence * 10) == tenth + 1
        error += abs(np.sum(confidence[inside]) - np.sum(correct[inside]))
    assert row["ece"] == pytest.approx(error / 500)
    assert sum(b["n"] for b in row["reliability"]) == 500


def test_wilson_is_always_reported():
    row = classification_metrics(binary(POSITIVE), LABELS)
    assert row["wilson95"] == pytest.approx(wilson(5, 8))
    assert (row["ci95"], row["ci95_method"]) == (row["wilson95"], "wilson")
    assert row["num_patients"] is None
    known = classification_metrics(binary(POSITIVE), LABELS, patients=list("aabbccdd"))
    assert known["wilson95"] == row["wilson95"]
    assert (known["ci95_method"], known["num_patients"]) == ("patient bootstrap", 4)
    assert known["auc_ci95_method"] == "patient bootstrap"


@pytest.mark.parametrize("patients", [["a"] * 8, ["a", None, *"bcdefg"], None])
def test_wilson_is_the_interval_without_known_patients(patients):
    row = classification_metrics(binary(POSITIVE), LABELS, patients=patients)
    assert row["ci95_method"] == "wilson"
    assert row["auc_ci95_method"] == "image bootstrap"
    assert row["num_patients"] == (1 if patients == ["a"] * 8 else None)


def test_all_correct():
    row = classification_metrics(binary([0.1, 0.2, 0.8, 0.9]), [0, 0, 1, 1])
    assert row["ci95"] == pytest.approx(wilson(4, 4))
    assert [row[key] for key in ("accuracy", "auc", "average_precision", "f1")] == [1, 1, 1, 1]
    # a bootstrap of 203 correct images of 95 patients has no spread, but 95 patients prove little
    labels = np.arange(203) % 2
    patients = [f"{number % 95}" for number in range(203)]
    row = classification_metrics(binary(labels.astype(float)), labels, patients=patients)
    assert row["ci95"] == pytest.approx(wilson(95, 95))
    assert row["ci95_method"] == "wilson over patients"


def test_one_class_only():
    row = classification_metrics(binary([0.9, 0.8, 0.3]), [1, 1, 1], patients=["a", "b", "b"])
    assert (row["sensitivity"], row["specificity"]) == (pytest.approx(2 / 3), None)
    assert (row["precision"], row["f1"]) == (1, pytest.approx(0.8))
    undefined = ("balanced_accuracy", "auc", "auc_ci95", "auc_ci95_method", "average_precision")
    assert [row[key] for key in undefined] == [None] * 5
    assert row["brier"] == pytest.approx((0.01 + 0.04 + 0.49) / 3)


def test_one_image():
    row = classification_metrics(binary([0.7]), [1], patients=["a"])
    assert (row["n"], row["correct"], row["accuracy"]) == (1, 1, 1)
    assert (row["ci95"], row["ci95_method"]) == (pytest.approx(wilson(1, 1)), "wilson")
    assert (row["auc"], row["specificity"], row["ece"]) == (None, None, pytest.approx(0.3))


def test_all_images_are_invalid():
    row = classification_metrics(np.full((4, 2), np.nan), [0, 1, 1, 1], patients=list("abcd"))
    assert (row["correct"], row["accuracy"], row["invalid"]) == (0, 0, 4)
    assert (row["sensitivity"], row["specificity"], row["precision"]) == (0, 0, None)
    assert row["ci95"] == pytest.approx(wilson(0, 4))
    assert [row[key] for key in ("auc", "auc_ci95", "brier", "ece")] == [None] * 4
    assert (row["confusion"], row["invalid_by_class"]) == ([[0, 0], [0, 0]], [1, 3])


def test_a_class_that_is_never_predicted():
    row = classification_metrics(np.eye(3)[[0, 1, 1]], [0, 1, 2])
    assert (row["macro_precision"], row["macro_recall"]) == (None, pytest.approx(2 / 3))
    assert row["macro_f1"] == pytest.approx((1 + 2 / 3 + 0) / 3)


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [
        (np.zeros((0, 2)), []),
        (np.zeros((0, 5)), []),
        (np.ones((3, 1)), [0, 0, 0]),
        (np.array([[np.inf, 0.0], [0.5, 0.5]]), [0, 1]),
        (np.full((6, 3), 1 / 3), [0, 1, 2, 0, 1, 2]),
        (np.eye(4)[[0, 1, 2]], [0, 1, 2]),
    ],
)
@pytest.mark.parametrize("known", [False, True])
def test_every_row_is_strict_json(probabilities, labels, known):
    patients = [str(index) for index in range(len(labels))] if known else None
    row = classification_metrics(probabilities, labels, patients=patients)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    metrics_table({"paper": row})


def test_constant_scores_have_half_the_area():
    row = classification_metrics(np.full((6, 3), 1 / 3), [0, 1, 2, 0, 1, 2])
    assert (row["auc"], row["auc_ci95"]) == (0.5, [0.5, 0.5])
    assert row["average_precision"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": [0, 1]}, r"probabilities \(8, 2\) and labels \(2,\): \[n, classes\] and \[n\]"),
        ({"labels": [0, 1, 2, 0, 0, 0, 0, 0]}, "labels 0 to 2: 0 to 1"),
        ({"labels": [0, -1, 1, 0, 0, 0, 0, 0]}, "labels -1 to 1: 0 to 1"),
        ({"classes": ("a", "b", "c")}, "3 class names for 2 classes"),
        ({"patients": ["a"]}, "1 patients for 8 images"),
    ],
)
def test_arguments_that_disagree(changes, message):
    arguments = {"probabilities": binary(POSITIVE), "labels": LABELS}
    with pytest.raises(ValueError, match=f"^{message}$"):
        classification_metrics(**{**arguments, **changes})


def test_the_table_names_method_and_invalid_images():
    policies = {"training_policy": "visible", "test_policy": "masked"}
    patients = list("aabbccdd")
    known = classification_metrics(binary(POSITIVE), LABELS, patients=patients)
    low, high = known["ci95"]
    assert metrics_table({"paper": {**known, **policies}}).splitlines() == [
        "protocol  trained  tested correct     accuracy [95% CI]    AUC",
        f"paper     visible  masked     5/8  0.625 [{low:.3f}, {high:.3f}]  0.625",
        "95% CI of the accuracy: patient bootstrap (4 patients)",
        "paper: 1 of 8 images invalid, counted as wrong",
    ]
    unknown = classification_metrics(binary(POSITIVE)[:2], LABELS[:2])
    assert metrics_table({"name": unknown}).splitlines()[1:] == [
        "name           -      -     2/2  1.000 [0.342, 1.000]   -",
        "95% CI of the accuracy: wilson (2 images)",
    ]
