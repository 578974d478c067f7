"""Evaluation of a finished run: baselines, comparison, record and predictions."""

import csv
import json
import os
import pathlib
import re
import shutil

import numpy as np
import pandas as pd
import pytest

import covid_lm
from covid_lm.data import load_dataset
from covid_lm.data.folder import folder
from covid_lm.data.reading import Reading
from covid_lm.data.records import ImageDataset, ImageRecord
from covid_lm.errors import InputError
from covid_lm.evaluation import baselines, protocol_metrics
from covid_lm.evaluation.protocol_metrics import evaluate_protocols
from covid_lm.evaluation.summary import summary
from covid_lm.evaluation_run import evaluate_run, report_path
from covid_lm.layers.image_input import ImageInput
from covid_lm.models.saving import load_classifier
from covid_lm.pipeline import decoded as pipeline
from covid_lm.pipeline.decoded import decode_records
from covid_lm.pipeline.pixel_cache import PixelCache
from covid_lm.results.run_records import read_records
from covid_lm.results.tables import runs_table


@pytest.fixture(scope="module")
def runs(finished_run, tmp_path_factory):
    """A finished run under the paper's protocol, and a copy of it that is tested under `fixed`."""
    copy = tmp_path_factory.mktemp("saved_models") / "copy"
    shutil.copytree(finished_run.model_dir, copy)
    path = copy / "run" / "config.json"
    config = json.loads(path.read_text())
    config["classifier"]["protocol"] = "fixed"
    path.write_text(json.dumps(config))
    return finished_run.model_dir, str(copy)


@pytest.fixture(scope="module")
def decoded() -> list[str]:
    """Paths of the images that `report` decodes, filled by it."""
    return []


@pytest.fixture(scope="module")
def report(runs, image_folder, tmp_path_factory, decoded):
    """The evaluation with all options, and its folder of records."""
    folder = tmp_path_factory.mktemp("evaluated")
    (folder / "records").mkdir()
    record = str(folder / "records" / "run-1.json")
    decode = pipeline.decode_valid

    def counted(records, *arguments):
        decoded.extend(record.path for record in records)
        return decode(records, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "decode_valid", counted)
        metrics = evaluate_run(
            runs[0],
            "folder",
            image_folder,
            output=str(folder / "metrics.json"),
            baselines=True,
            compare=runs[1],
            record=record,
        )
    return metrics, record


def test_every_image_is_decoded_once(report, decoded, image_folder):
    records = folder(image_folder).split("train", "test")
    assert sorted(decoded) == sorted(record.path for record in records)


def test_a_filled_cache_spares_the_decoding(runs, image_folder, monkeypatch, tmp_path):
    run = os.path.join(runs[1], "run")
    dataset, cache = folder(image_folder), PixelCache(str(tmp_path))
    classifier = load_classifier(run)
    first = evaluate_protocols(classifier, dataset.split("test"), cache=cache)
    decode_records(dataset.split("train"), classifier.preprocessor().image_input, cache=cache)
    monkeypatch.setattr(ImageInput, "__call__", None)
    classifier = load_classifier(run)
    again = evaluate_protocols(classifier, dataset.split("test"), cache=cache)
    np.testing.assert_array_equal(again.own_probabilities, first.own_probabilities)
    compared = evaluate_protocols(classifier, again.records, decoded=again.images)
    np.testing.assert_array_equal(compared.own_probabilities, first.own_probabilities)
    monkeypatch.setattr(protocol_metrics, "BASELINES", ("random_forest",))
    monkeypatch.setattr(baselines, "NUM_TREES", 5)
    rows = protocol_metrics.baseline_rows(classifier, dataset, again, cache)
    assert rows["random_forest"]["n"] == 10


def test_evaluation_of_the_finished_run_repeats_its_figures(report, finished_run):
    metrics, record = report
    assert metrics["protocols"] == finished_run.metrics["protocols"]
    assert metrics["export_difference"] < 1e-6
    folder = pathlib.Path(record).parents[1]
    assert json.loads((folder / "metrics.json").read_text()) == metrics
    page = pathlib.Path(report_path(str(folder / "metrics.json")))
    assert "<title>1x64 on folder, test split</title>" in page.read_text()


def test_an_external_data_set_has_no_training_images(runs, image_folder, tmp_path):
    shutil.copytree(os.path.join(image_folder, "test"), tmp_path / "data" / "Test")
    output = str(tmp_path / "all.json")
    reading = Reading(patient_pattern=r"(\d)\.")
    metrics = evaluate_run(
        runs[0], "folder", str(tmp_path / "data"), "all", output=output, reading=reading
    )
    assert (metrics["protocols"]["paper"]["n"], metrics["name_alone"]) == (10, None)
    assert summary(metrics).splitlines()[2] == "folder, all splits"
    assert (
        "<title>1x64 on folder, all splits</title>" in pathlib.Path(report_path(output)).read_text()
    )
    with pytest.raises(InputError, match="--split=val: folder has no such images"):
        evaluate_run(runs[0], "folder", str(tmp_path / "data"), "val")
    with pytest.raises(InputError, match="--baselines: folder has no training images to fit them"):
        evaluate_run(runs[0], "folder", str(tmp_path / "data"), baselines=True)


def test_all_splits_of_a_data_set_are_evaluated_together(runs, image_folder):
    metrics = evaluate_run(runs[1], "folder", image_folder, "all")
    assert (metrics["protocols"]["fixed"]["n"], metrics["split"]) == (42, "all")


def test_the_splits_of_a_run_are_a_table_of_the_same_records(finished_run, image_folder):
    table = os.path.join(finished_run.model_dir, "run", "splits.csv")
    dataset = load_dataset("table", table, Reading(image_root=image_folder))
    expected = folder(image_folder)
    assert dataset.classes == expected.classes
    assert [(r.path, r.label, r.split) for r in dataset.records] == [
        (r.path, r.label, r.split) for r in expected.records
    ]


def test_baselines_learn_two_easy_classes_from_the_tokens(report):
    baselines = report[0]["floors"]
    assert list(baselines) == ["logistic_regression", "random_forest"]
    for row in baselines.values():
        assert (row["n"], row["auc"]) == (10, 1.0)


def test_the_name_s_length_is_a_baseline(report, image_folder):
    row = report[0]["name_alone"]
    # Dark and bright images have names of the same lengths: five bytes and the suffix.
    assert (row["n"], row["auc"]) == (10, 0.5)
    assert len({len(record.filename) for record in folder(image_folder).records}) == 2


def test_another_model_on_the_same_images(report, runs):
    comparison = report[0]["comparison"]
    assert comparison["with"] == runs[1]
    assert comparison["rows"] == ["paper", "fixed"]
    assert comparison["n"] == 10
    counts = ("both_correct", "only_a_correct", "only_b_correct", "neither_correct")
    assert sum(comparison[key] for key in counts) == 10
    assert comparison["correct"][0] == comparison["both_correct"] + comparison["only_a_correct"]


def test_the_record_of_the_run(report):
    metrics, path = report
    with open(path, encoding="utf-8") as file:
        record = json.load(file)
    assert record["name"] == "run-1"
    assert record["command"].startswith("python tools/train.py --dataset=folder --data_dir=DIR ")
    assert (record["weights"], record["seed"], record["split"]) == ("random", 0, "test")
    assert [line["epoch"] for line in record["epochs"]] == [1, 2]
    assert record["hits"].count("1") == metrics["protocols"]["paper"]["correct"]
    assert set(record["protocols"]) == {"paper", "visible", "fixed", "absent"}
    assert "reliability" not in record["protocols"]["paper"]
    assert os.path.dirname(path) not in json.dumps(record)
    assert record["commit"]
    table = runs_table(read_records(os.path.dirname(path)))
    assert table["model"].tolist() == [
        "1x64, random weights",
        "",
        "",
        "",
        "logistic regression",
        "random forest",
        "depth-3 tree",
    ]


def test_predictions_are_those_of_the_live_model(runs, image_folder):
    run_dir = os.path.join(runs[0], "run")
    evaluation = evaluate_protocols(load_classifier(run_dir), folder(image_folder).split("test"))
    with open(os.path.join(run_dir, "predictions.csv"), newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 10
    own = [row for row in rows if row["protocol"] == "paper"]
    paths = [os.path.relpath(record.path, image_folder) for record in evaluation.records]
    assert [row["path"] for row in own] == paths
    dark = [float(row["p(dark)"]) for row in own]
    np.testing.assert_allclose(dark, evaluation.own_probabilities[:, 1], atol=1e-5)


@pytest.fixture(scope="module")
def with_factors(image_folder) -> ImageDataset:
    """All images as a table with two scanners and an age; two images of each patient."""
    records = folder(image_folder).records
    frame = pd.DataFrame(
        {
            "path": [os.path.relpath(record.path, image_folder) for record in records],
            "label": [("bright", "dark")[record.label] for record in records],
            "split": "test",
            "patient": [f"Doe {row % 21}" for row in range(42)],
            "scanner": ["A" if row % 21 < 12 else "B" for row in range(42)],
            "age": [30 + row % 21 for row in range(42)],
            "note": [f"slice {row} of Doe {row % 21}" for row in range(42)],
            "predicted": ["yes", "no"] * 21,
        }
    )
    return covid_lm.load_dataset(frame, image_root=image_folder)


def test_figures_by_factor(runs, with_factors, tmp_path):
    output, record = (str(tmp_path / name) for name in ("metrics.json", "record.json"))
    metrics = evaluate_run(runs[1], with_factors, None, "all", output=output, record=record)
    rows = metrics.predictions
    assert len(rows) == 42
    assert rows["path"].tolist() == [with_factors.path_below(r) for r in with_factors.records]
    assert rows["patient"].tolist() == [record.patient for record in with_factors.records]
    assert list(rows.columns) == [
        *("protocol", "path", "patient", "split", "label", "predicted", "p(bright)", "p(dark)"),
        *("scanner", "age", "note", "predicted (factor)"),
    ]
    correct = (rows["label"] == rows["predicted"]).groupby(rows["scanner"]).mean()
    table = metrics.factors.set_index(["factor", "level"])
    assert table.loc[("scanner", "A"), "accuracy"] == correct["A"]
    assert (table.loc[("scanner", "A"), ["n", "num_patients"]] == [24, 12]).all()
    ends = table.loc[("scanner", "A"), ["accuracy_low", "accuracy_high"]].tolist()
    assert ends == metrics["factors"]["scanner"]["groups"][0]["ci95"]
    assert table.loc[("scanner", "B"), "note"] == "fewer than 10 patients"
    assert table.loc[("age", "30 to 39"), "num_patients"] == 10
    assert metrics["factors"]["note"] == {"left_out": "42 different values"}
    for path in (output, record):
        assert json.loads(pathlib.Path(path).read_text())["factors"] == metrics["factors"]
    assert "fewer than 10 patients" in pathlib.Path(report_path(output)).read_text()
    text = summary(metrics)
    assert "factors without figures: note (42 different values)" in text
    assert re.search(r"\n *scanner +B +- +- +fewer than 10 patients +-\n", text)
    written = [text, *(path.read_text() for path in tmp_path.iterdir())]
    assert not [text for text in written if "Doe" in text]


def test_chunks_leave_no_image_out_and_the_damaged_are_counted(image_folder, monkeypatch):
    monkeypatch.setattr(pipeline, "CHUNK_SIZE", 3)
    records = list(folder(image_folder).split("test"))
    damaged = ImageRecord("x.png", 0, "test", "x.png", read=lambda: b"no image")
    image_input = ImageInput(32)
    whole = decode_records(records, image_input)
    mixed = [damaged, damaged, damaged, *records, damaged]
    images = decode_records(mixed, image_input, skip_invalid=True)
    assert (images.records, len(images.skipped)) == (whole.records, 4)
    assert images.summary == whole.summary
    chunks = list(images.chunks())
    assert [len(chunk.records) for chunk in chunks] == [3, 3, 3, 1]
    pixels = np.concatenate([chunk.pixels for chunk in chunks])
    np.testing.assert_array_equal(pixels, whole.pixels)
    with pytest.raises(
        InputError, match=r"^x.png: not an image \(in all 4 can't be decoded: 4 not an image"
    ):
        decode_records(mixed, image_input)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"record": "/none/x.json"}, "--record=/none/x.json: its folder does not exist"),
        ({"compare": "/none"}, "--compare=/none: no such directory"),
    ],
)
def test_unusable_arguments(runs, image_folder, changes, message):
    with pytest.raises(InputError) as error:
        evaluate_run(runs[0], "folder", image_folder, **changes)
    assert str(error.value).startswith(message)
