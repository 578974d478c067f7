"""Tables and figure from records: what they say, how they are ordered, what is refused."""

import json
import xml.etree.ElementTree

import numpy as np
import pytest

from covid_lm.errors import InputError
from covid_lm.evaluation.metrics import classification_metrics
from covid_lm.results.figures import figure_2, table_1
from covid_lm.results.tables import (
    commands_list,
    comparisons_table,
    read_records,
    replace_results,
    results_table,
)


def row(right: str, policy: str) -> dict:
    """Metrics of as many images as digits, alternately of class 0 and 1; 1 = answered rightly."""
    labels = np.arange(len(right)) % 2
    answers = np.where(np.array(list(right)) == "1", labels, 1 - labels)
    metrics = classification_metrics(np.eye(2)[answers], labels, ("no", "yes"))
    return {"training_policy": policy, "test_policy": policy, **metrics}


def record(name: str, right: str = "11110000", **changes) -> dict:
    protocol = changes.get("protocol", "fixed")
    values = {
        "name": name,
        "dataset": "covid_ct",
        "backbone": "minilm-l6",
        "protocol": protocol,
        "layout": "paper",
        "image_size": None,
        "weights": "pretrained",
        "seed": 0,
        "batch_size": 16,
        "early_stopping": "val",
        "command": f"python tools/train.py --name={name}",
        "date": "2026-11-23",
        "seconds": 120.0,
        "images": 1425,
        "machine": "2 cores of a processor",
        "epochs": [{"epoch": 1, "val_accuracy": 0.5}, {"epoch": 2, "val_accuracy": 0.75}],
        "protocols": {protocol: row(right, "masked" if protocol == "paper" else protocol)},
        "name_alone": row("1" * len(right), "name"),
        "hits": right,
    }
    return values | changes


def test_a_line_says_what_was_measured():
    lines = results_table([record("a", seed=3)]).splitlines()
    expected = (
        "| minilm-l6, pretrained weights | fixed: 24 [MASK]s | 1,425 x 2 | 3 | 4/8 | 0.500 [0.215, "
    )
    assert lines[2].startswith(expected)
    assert lines[2].endswith("| 2 |")
    assert lines[3].startswith("| depth-3 tree | the name's length |  | 0 | 8/8 | 1.000")


def test_an_average_took_no_epochs_and_no_minutes():
    average = record("a", seed="0, 1", epochs=[], images=None, seconds=14.0)
    line = results_table([average]).splitlines()[2]
    assert line.split(" | ")[2:4] == ["", "0, 1"]
    assert line.endswith("|  |")


def test_rows_stand_by_model_then_protocol_then_seed():
    records = [
        record("d", backbone="resnet50", protocol="absent", image_size=32, weights="random"),
        record("c", seed=1),
        record("b", seed=0),
        record("a", protocol="paper"),
    ]
    lines = results_table(records).splitlines()[2:6]
    assert [line.split(" | ")[1][:5] for line in lines] == ["paper", "fixed", "fixed", "absen"]
    assert [line.split(" | ")[3] for line in lines] == ["0", "0", "1", "0"]
    assert lines[3].startswith("| resnet50 32x32, random weights |")


def test_a_recipe_and_an_average_are_told_apart():
    records = [
        record("both", seed="0, 1", recipe="honest", layout="gray22"),
        record("one", seed=0, recipe="honest", layout="gray22"),
        record("plain", recipe="paper", layout="gray22"),
    ]
    lines = results_table(records).splitlines()[2:5]
    assert [line.split(" | ")[0] for line in lines] == [
        "| minilm-l6 gray22, pretrained weights, honest recipe",
        "| minilm-l6 gray22, pretrained weights, honest recipe",
        "| minilm-l6 gray22, pretrained weights",
    ]
    assert [line.split(" | ")[3] for line in lines] == ["0", "0, 1", "0"]


def test_other_test_policies_and_floors_stand_below():
    both = {"paper": row("11100000", "masked"), "fixed": row("11000000", "fixed")}
    chosen = record("a", protocol="paper", protocols=both, early_stopping="test")
    chosen["floors"] = {"random_forest": row("11111000", "fixed")}
    lines = results_table([chosen]).splitlines()
    assert "tested masked (stopped by the test split) | 1,425 x 2 | 0 | 3/8 |" in lines[2]
    assert lines[3].startswith("|  | … tested fixed |  | 0 | 2/8 |")
    assert lines[4].startswith("| random forest | floor: the same tokens |  | 0 | 5/8 |")


def test_commands():
    assert commands_list([record("a")]) == (
        "- minilm-l6, pretrained weights, fixed, seed 0 (2026-11-23, 2 cores of a processor): "
        "`python tools/train.py --name=a`"
    )


def test_comparisons_are_exact_mcnemar_tests():
    records = [record("a", "1111111100"), record("b", "0000000011"), record("c", "1" * 11)]
    lines = comparisons_table(records, "a").splitlines()
    # 10 discordant images, 2 for b: 2 * (1 + 10 + 45) / 2**10; c has other images.
    assert lines[2].endswith("| 2/10 | 2 | 8 | 0.11 |")
    assert len(lines) == 3
    with pytest.raises(InputError, match="--baseline=z: no such record"):
        comparisons_table(records, "z")


def test_table_1_sets_ours_beside_the_papers():
    ours = record("a", backbone="rbt3", protocol="paper", weights="random", early_stopping="test")
    lines = table_1([ours, record("b", protocol="paper")]).splitlines()
    assert lines[2] == (
        "| rbt3 | 768 | 8 | 99.51% | 2 | 50.00% (4/8) | random weights; 2 epochs; batch 16 "
        "(paper: 512); stopped by the test split, as the paper is |"
    )
    assert lines[3].startswith("| rbtl3 | 1024 | 3 | 100.00% | - | - | not run")
    assert lines[5].startswith("| minilm-l6 | 384 | - | - | 2 | 50.00% (4/8) | not a model")


def test_figure_2_draws_every_run(tmp_path):
    path = str(tmp_path / "figure_2.svg")
    figure_2([record("a"), record("b", dataset="cifar10")], path)
    text = (tmp_path / "figure_2.svg").read_text()
    xml.etree.ElementTree.fromstring(text)
    run = "minilm-l6, pretrained weights, fixed, seed 0 (validation)"
    for words in (run, "paper, test: 99.60%"):
        assert f"<!-- {words} -->" in text
    assert [entry.name for entry in tmp_path.iterdir()] == ["figure_2.svg"]


def test_marked_parts_of_a_file_are_replaced(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("a\n<!-- results: covid_ct -->\nold\n<!-- /results -->\nb\n")
    replace_results(str(path), {"covid_ct": "new"})
    assert path.read_text() == "a\n<!-- results: covid_ct -->\nnew\n<!-- /results -->\nb\n"
    with pytest.raises(InputError, match="no <!-- results: other -->"):
        replace_results(str(path), {"other": "x"})


def test_unusable_records(tmp_path):
    with pytest.raises(InputError, match=r"--records=.*: none there; tools/evaluate.py --record"):
        read_records(str(tmp_path))
    with pytest.raises(InputError, match="No such file or directory"):
        read_records(str(tmp_path / "none"))
    (tmp_path / "a.json").write_text(json.dumps(record("a")))
    assert [r["name"] for r in read_records(str(tmp_path))] == ["a"]
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(InputError, match=r"b\.json: not a record \('protocols' is missing\)$"):
        read_records(str(tmp_path))
