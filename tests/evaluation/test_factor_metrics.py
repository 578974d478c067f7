"""Figures by factor: groups and their figures, small groups, and factors that are left out."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from covid_lm.data.records import ImageRecord
from covid_lm.evaluation.factor_metrics import MAX_FACTORS, factor_metrics, factor_table
from covid_lm.evaluation.metrics import classification_metrics

CLASSES = ("sick", "well")


def records_of(factors, patients=None, labels=None):
    """A record for each value of the factors, with labels 0, 1, 0, 1 and so on."""
    count = len(next(iter(factors.values())))
    labels = [number % 2 for number in range(count)] if labels is None else labels
    return [
        ImageRecord(
            *(f"{row}.png", labels[row], "test", f"{row}.png", bytes),
            patient=None if patients is None else patients[row],
            factors={name: values[row] for name, values in factors.items()},
        )
        for row in range(count)
    ]


def random_answers(count: int) -> np.ndarray:
    positive = np.random.default_rng(3).random(count)
    return np.column_stack([1 - positive, positive])


def test_each_group_has_the_figures_of_its_images():
    scanners = ["A"] * 60 + ["B"] * 40 + [""] * 24
    patients = [f"{row // 2:02}" for row in range(124)]
    records, answers = records_of({"scanner": scanners}, patients), random_answers(124)
    (groups,) = [factor["groups"] for factor in factor_metrics(answers, records, CLASSES).values()]
    assert [group["level"] for group in groups] == ["A", "B", None]
    places = (slice(0, 60), slice(60, 100), slice(100, 124))
    for group, rows in zip(groups, places, strict=True):
        own = [record.label for record in records[rows]]
        assert group["n"] == 2 * group["num_patients"] == len(own)
        assert group["accuracy"] == np.mean(answers[rows].argmax(axis=1) == own)
        assert group["auc"] == pytest.approx(roc_auc_score(own, answers[rows, 1]))
        whole = classification_metrics(answers[rows], own, CLASSES, patients[rows])
        assert {**whole, **group} == {**whole, "level": group["level"]}
        assert group["ci95_method"] == group["auc_ci95_method"] == "patient bootstrap"


def test_groups_of_fewer_than_ten_patients_have_no_figures():
    sexes = ["F"] * 30 + ["M"] * 27
    patients = [f"{row // 3:02}" for row in range(57)]  # 10 women and 9 men
    factors = factor_metrics(random_answers(57), records_of({"sex": sexes}, patients), CLASSES)
    women, men = factors["sex"]["groups"]
    assert (women["n"], women["num_patients"]) == (30, 10)
    assert men == {"level": "M", "suppressed": "fewer than 10 patients"}


def test_images_are_counted_where_no_patient_is_known():
    factors = factor_metrics(
        random_answers(19), records_of({"sex": ["F"] * 10 + ["M"] * 9}), CLASSES
    )
    women, men = factors["sex"]["groups"]
    assert (women["n"], women["num_patients"]) == (10, None)
    assert women["ci95_method"] == "wilson"
    assert men == {"level": "M", "suppressed": "fewer than 10 images"}


def test_ages_are_grouped_by_decade():
    ages = [str(20 + row // 2) for row in range(80)]
    factors = factor_metrics(random_answers(80), records_of({"Age": ages}), CLASSES)
    assert [(group["level"], group["n"]) for group in factors["Age"]["groups"]] == [
        *[("20 to 29", 20), ("30 to 39", 20)],
        *[("40 to 49", 20), ("50 to 59", 20)],
    ]


def test_factors_without_groups_say_why():
    columns = {
        "note": [f"note {row}" for row in range(40)],
        "site": ["A"] * 40,
        "ward": [""] * 40,
    }
    factors = factor_metrics(random_answers(40), records_of(columns), CLASSES)
    assert factors == {
        "note": {"left_out": "40 different values"},
        "site": {"left_out": "the same value for all images"},
        "ward": {"left_out": "no value"},
    }


def test_the_number_of_factors_is_limited():
    columns = {f"f{number}": ["a", "b"] * 5 for number in range(MAX_FACTORS + 1)}
    factors = factor_metrics(random_answers(10), records_of(columns), CLASSES)
    assert "groups" in factors[f"f{MAX_FACTORS - 1}"]
    assert factors[f"f{MAX_FACTORS}"] == {"left_out": f"more than {MAX_FACTORS} factors"}


def test_groups_of_one_class_have_no_area():
    records = records_of({"site": ["A"] * 12 + ["B"] * 12}, labels=[0] * 12 + [0, 1] * 6)
    first, second = factor_metrics(random_answers(24), records, CLASSES)["site"]["groups"]
    assert (first["auc"], first["auc_ci95"]) == (None, None)
    assert second["auc_ci95"][0] < second["auc"] < second["auc_ci95"][1]


def test_table_of_factors():
    columns = {"sex": ["F"] * 20 + ["M"] * 4, "note": [f"note {row}" for row in range(24)]}
    factors = factor_metrics(random_answers(24), records_of(columns), CLASSES)
    table = factor_table(factors)
    assert table["factor"].tolist() == ["sex", "sex", "note"]
    assert table["level"].fillna("-").tolist() == ["F", "M", "-"]
    assert table["note"].tolist() == ["", "fewer than 10 images", "24 different values"]
    women = factors["sex"]["groups"][0]
    assert table.loc[0, ["accuracy_low", "accuracy_high"]].tolist() == women["ci95"]
    assert table.loc[0, ["auc", "auc_low", "auc_high"]].tolist() == [
        women["auc"],
        *women["auc_ci95"],
    ]
    assert (table["n"][0], table["n"].isna().tolist()) == (20, [False, True, True])
    assert factor_table({}).empty
