"""Tables as text, and the summary that the tools print."""

import pandas as pd

from covid_lm.evaluation.summary import markdown_table, summary, text_table

TABLE = pd.DataFrame({"name": ["a|b", "long name"], "n": [1, 20], "share": ["0.5", "-"]})


def test_a_table_in_markdown():
    assert markdown_table(TABLE).splitlines() == [
        "| name | n | share |",
        "| --- | --- | --- |",
        r"| a\|b | 1 | 0.5 |",
        "| long name | 20 | - |",
    ]
    numbers = pd.DataFrame({"n": [1], "share": [0.5]})
    assert markdown_table(numbers).splitlines()[2] == "| 1 | 0.5 |"
    assert markdown_table(TABLE.iloc[:0]).splitlines() == [
        "| name | n | share |",
        "| --- | --- | --- |",
    ]


def test_a_table_for_a_terminal():
    assert text_table(TABLE).splitlines() == [
        "name        n share",
        "a|b         1   0.5",
        "long name  20     -",
    ]


def row(correct: int) -> dict:
    return {
        "n": 4,
        "correct": correct,
        "accuracy": correct / 4,
        "ci95": [0.25, 0.75],
        "ci95_method": "wilson",
        "auc": None,
        "invalid": 0,
    }


def test_headline_rows_baselines_and_comparison_in_this_order():
    metrics = {
        "headline": "A sentence.",
        "dataset": "folder",
        "split": "val",
        "protocols": {"masked": {**row(3), "training_policy": "masked", "test_policy": "masked"}},
        "name_alone": row(4),
        "floors": {"random_forest": row(2)},
        "comparison": {
            "with": "saved_models/b",
            "rows": ["masked", "fixed"],
            "n": 4,
            "correct": [3, 1],
            "only_a_correct": 2,
            "only_b_correct": 0,
            "p_value": 0.5,
        },
    }
    assert summary(metrics).splitlines() == [
        "A sentence.",
        "",
        "folder, val split",
        "protocol      trained  tested correct     accuracy [95% CI] AUC",
        "masked         masked  masked     3/4  0.750 [0.250, 0.750]   -",
        "name length         -    name     4/4  1.000 [0.250, 0.750]   -",
        "random_forest       -       -     2/4  0.500 [0.250, 0.750]   -",
        "95% CI of the accuracy: wilson (4 images)",
        "compared with saved_models/b (fixed) on 4 images: 3 against 1 correct, 2 by this model "
        "alone and 0 by the other alone; McNemar's exact p 0.5",
    ]
