"""Features of names and directories, shared sources, and split summaries: exact values."""

import pytest

from covid_lm.auditing.data_findings import balance_p_value
from covid_lm.auditing.features import names as name_features
from covid_lm.data.splits import split_summaries
from tests.audit.synthetic import record


def test_name_facts():
    assert name_features.name_facts("Ab-1.png") == (
        "begins with 'a'",
        "begins with 'ab'",
        "begins with 'ab-'",
        "begins with 'ab-1'",
        "contains '-'",
        "contains '-1'",
        "contains '1'",
        "contains 'a'",
        "contains 'ab'",
        "contains 'ab-'",
        "contains 'b'",
        "contains 'b-'",
        "contains 'b-1'",
        "contains the word 'ab'",
    )


def test_order_features():
    features = name_features.order_features(["s-10.png", "s-9.png", "x.png", "3-s-2.png"])
    assert features["rank in the order of names"].tolist() == [2, 1, 3, 0]
    assert features["first number in the name"].tolist() == [10, 9, -1, 3]
    assert features["last number in the name"].tolist() == [10, 9, -1, 2]


def test_directories_below_the_class_folder():
    records = [
        record("a.png", 0, path="d/train/cat/x/a.png"),
        record("b.png", 0, path="d/train/cat/x/b.png"),
        record("c.png", 0, path="d/train/cat/c.png"),
        record("d.png", 1, path="d/train/dog/d.png"),
    ]
    assert name_features.relative_directories(records) == ["x", "x", "", ""]
    features = name_features.directory_features(records)
    assert features["directory depth"].tolist() == [1, 1, 0, 0]
    assert features["siblings in the directory"].tolist() == [1, 1, 0, 0]


def test_the_class_folder_itself_is_no_feature():
    records = [record("a.png", 0, path="z/CT.zip!CT/a.png"), record("b.png", 1, path="y/b.png")]
    assert name_features.relative_directories(records) == ["", ""]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("2020.03.12.20034686-p17-91-2.png", "2020.03.12.20034686-p17-91"),
        ("PIIS0140673620301549_0%1.png", "PIIS0140673620301549_0"),
        ("scan of 1 (3).png", "scan of 1"),
        ("14%0.jpg", None),
        ("a3f9c2d01b44.png", None),
        ("0001.jpg", None),
    ],
)
def test_name_source(name, source):
    assert name_features.name_source(name) == source


def test_shared_patients_and_stems():
    records = [
        record("study-7-1.png", split="train", patient="p1"),
        record("study-7-2.png", split="test", patient="p2"),
        record("x.png", split="train", patient="p3"),
        record("y.png", split="val", patient="p3"),
        record("other-1.png", split="test"),
    ]
    (patient,) = name_features.shared_patients(records)
    assert (patient.name, patient.files, patient.splits) == ("p3", (2, 3), ("train", "val"))
    (stem,) = name_features.shared_name_sources(records)
    assert (stem.name, stem.files, stem.patients) == ("study-7", (0, 1), ("p1", "p2"))


def test_a_stem_of_many_files_is_a_naming_scheme():
    records = [record(f"image-{i}.png", split=("train", "test")[i % 2]) for i in range(40)]
    assert name_features.shared_name_sources(records) == []


def test_split_summaries_and_balance():
    records = [record(f"{i}", i % 2, "train", patient=f"p{i // 4}") for i in range(40)]
    records += [record(f"t{i}", 0, "test") for i in range(10)]
    train, test = summaries = split_summaries(records, 2)
    assert (train.files, train.class_counts, train.patients) == (40, (20, 20), 10)
    assert (train.most_files_of_a_patient, test.patients) == (4, None)
    # 50 (|20 x 0 - 20 x 10| - 25)^2 / (40 x 10 x 30 x 20) = 6.38, by Yates' formula
    assert balance_p_value(summaries) == pytest.approx(0.01154, abs=1e-5)
    assert balance_p_value(summaries[:1]) == 1
