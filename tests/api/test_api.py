"""The Python interface: what it shares with the tools, its inputs and its errors."""

import contextlib
import doctest
import os
import pathlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import covid_lm
from covid_lm import training_run
from covid_lm.data.folder import folder
from covid_lm.data.records import ImageDataset
from covid_lm.errors import InputError
from covid_lm.files import read_json
from covid_lm.serving.predict import image_files, predict_files
from tests.conftest import REPOSITORY

NAMES = ("Predictor", "audit", "evaluate", "load_dataset", "train")


@pytest.fixture(scope="module")
def frame(image_folder) -> pd.DataFrame:
    """The images of the folder as a table, with an age for each."""
    records = folder(image_folder).records
    return pd.DataFrame(
        {
            "image": [os.path.relpath(record.path, image_folder) for record in records],
            "finding": [("bright", "dark")[record.label] for record in records],
            "fold": [record.split for record in records],
            "patient": [f"Doe {k}" for k in range(len(records))],
            "age": np.arange(len(records)),
        }
    )


@pytest.fixture(scope="module")
def examples(frame, image_folder, finished_run, tmp_path_factory) -> dict:
    """The names that the docstrings' examples leave, run in order in a folder of their own.

    In place of the training, which `covid_lm/README.md` shows, a finished run is returned;
    `trained` has the arguments of its call.
    """
    root = tmp_path_factory.mktemp("examples")
    (root / "saved_models").mkdir()
    os.symlink(finished_run.model_dir, root / "saved_models" / "first")
    os.symlink(image_folder, root / "IMAGES")
    columns = {"paths": frame["image"], "labels": frame["finding"], "ages": frame["age"]}
    names = {"covid_lm": covid_lm, "pd": pd, "np": np, **columns}

    def train(options, dataset):
        names["trained"] = (options, dataset)
        return finished_run

    with contextlib.chdir(root), pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_run, "train", train)
        for name in ("load_dataset", "audit", "train", "evaluate", "Predictor"):
            found = doctest.DocTestParser().get_examples(getattr(covid_lm, name).__doc__)
            assert len(found) > 1
            for example in found:
                exec(example.source, names)
    return names


@pytest.fixture(scope="module")
def predictor(finished_run) -> covid_lm.Predictor:
    return covid_lm.Predictor(finished_run)


def test_importing_the_package_imports_nothing_else(image_folder):
    code = (
        "import sys, covid_lm; before = {*sys.modules}; print(*dir(covid_lm))\n"
        "print(*sorted(m for m in before if m.startswith('covid_lm.') or m == 'numpy'))\n"
        "covid_lm.train, covid_lm.Predictor, covid_lm.load_dataset(sys.argv[1])\n"
        "print(*sorted({'tensorflow', 'keras'} & {*sys.modules}))"
    )
    process = subprocess.run(
        [sys.executable, "-c", code, image_folder],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    )
    names, early, heavy = process.stdout.split("\n")[:3]
    assert {*NAMES, "__version__"} <= {*names.split()}
    assert (early, heavy) == ("", "")


def test_the_names_stay_functions_after_all_modules_are_imported(examples):
    assert {"covid_lm.training_run", "covid_lm.evaluation_run"} <= {*sys.modules}
    assert examples
    for name in NAMES:
        assert callable(getattr(covid_lm, name))
        assert getattr(covid_lm, name).__doc__
    assert {*covid_lm.__all__} == {*NAMES, "__version__"}
    with pytest.raises(AttributeError, match="module 'covid_lm' has no attribute 'fit'"):
        _ = covid_lm.fit


def facts(dataset: ImageDataset, root: str) -> list[tuple]:
    classes = dataset.classes
    return [(os.path.relpath(r.path, root), classes[r.label], r.split) for r in dataset.records]


def test_a_folder_a_table_and_a_frame_are_the_same_data(image_folder, frame, tmp_path):
    table = tmp_path / "labels.csv"
    frame.to_csv(table, index=False)
    expected = facts(folder(image_folder), image_folder)
    data_sets = [
        covid_lm.load_dataset(pathlib.Path(image_folder)),
        covid_lm.load_dataset("folder", image_folder),
        covid_lm.load_dataset(frame, image_root=image_folder),
        covid_lm.load_dataset(str(table), image_root=image_folder, columns={"split": "fold"}),
        covid_lm.load_dataset("table", table, image_root=image_folder, columns="label=finding"),
    ]
    assert all(facts(dataset, image_folder) == expected for dataset in data_sets)
    assert [r.factors["age"] for r in data_sets[2].records] == [str(k) for k in range(42)]
    assert data_sets[3].flags["columns"] == "split=fold"
    assert repr(data_sets[0]) == (
        "ImageDataset('folder', classes=('bright', 'dark'), train=24, val=8, test=10)"
    )


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("absent", {}, "absent: no such file or directory, nor one of phantom, phantom4000, "),
        ("covid_ct", {}, "--dataset=covid_ct: needs --data_dir"),
        ("labels", {"data_dir": "x"}, "labels: with a data_dir, give one of phantom, "),
        ("phantom", {"image_root": "x"}, "--image_root: only with --dataset=table"),
        ("setup.cfg", {}, "--data_dir=setup.cfg: not a table; give a file that ends in .csv"),
        (pd.DataFrame({"image": ["a"]}), {}, "table: no column is the label among image; give"),
    ],
)
def test_data_that_cant_be_loaded(source, options, message, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    with pytest.raises(InputError) as error:
        covid_lm.load_dataset(source, **options)
    assert str(error.value).startswith(message)


def test_arguments_of_wrong_types(frame, image_folder):
    with pytest.raises(TypeError, match="a data set is a name, a path or a DataFrame, not list"):
        covid_lm.load_dataset(["a.png"])
    with pytest.raises(TypeError, match="colums"):
        covid_lm.load_dataset(frame, colums={})
    with pytest.raises(TypeError, match="epoch"):
        covid_lm.train(image_folder, epoch=3)


def test_options_are_checked_before_the_work(frame, image_folder, examples):
    data = covid_lm.load_dataset(frame.assign(patient="one"), image_root=image_folder)
    only_test = covid_lm.load_dataset(frame[frame["fold"] == "test"], image_root=image_folder)
    for call, message in (
        (lambda: covid_lm.train(data), "in several splits"),
        (lambda: covid_lm.train(only_test), "table: no training images; it can be evaluated"),
        (lambda: covid_lm.train(data, epochs=0), "--epochs=0: must be at least 1"),
        (lambda: covid_lm.train(data, recipe="best"), "--recipe=best: choose one of paper, pixels"),
        (lambda: covid_lm.evaluate("absent", data), "--model=absent: no such directory"),
        (lambda: covid_lm.evaluate(examples["run"], data, "tests"), "--split=tests: choose one of"),
        (lambda: covid_lm.audit(data, model="absent"), "--model=absent: no such directory"),
        (lambda: covid_lm.Predictor("absent"), "--model=absent: no such directory"),
    ):
        with pytest.raises(InputError) as error:
            call()
        assert message in str(error.value)


def test_an_audit_finds_and_writes(image_folder, tmp_path):
    report = covid_lm.audit(covid_lm.load_dataset(image_folder), output=tmp_path / "audit")
    assert report.findings[0].severity == "high"
    assert repr(report).startswith("AuditReport('folder', 42 images, ")
    written = read_json(str(tmp_path / "audit" / "audit.json"))
    assert len(written["findings"]) == len(report.findings)
    assert (tmp_path / "audit" / "audit.html").exists()


def test_predictions_are_the_tools(predictor, image_folder):
    root = os.path.join(image_folder, "test")
    table = predictor.predict(root)
    expected = list(predict_files(predictor.version_dir, image_files([root])))
    assert list(table.columns) == ["path", "label", "probability", "p(bright)", "p(dark)", "error"]
    assert table["path"].tolist() == [prediction.path for prediction in expected]
    assert table["label"].tolist() == [prediction.label for prediction in expected]
    probabilities = [prediction.probabilities for prediction in expected]
    np.testing.assert_allclose(table[["p(bright)", "p(dark)"]], probabilities, atol=1e-6)
    records = predictor.predict(covid_lm.load_dataset(image_folder))
    assert len(records) == 42
    tested = records[records["path"].isin(table["path"])].sort_values("path")
    np.testing.assert_allclose(tested["p(dark)"], table["p(dark)"], atol=1e-6)


def test_bytes_and_pixels(predictor, image_folder):
    path = sorted(pathlib.Path(image_folder, "test", "dark").glob("*.png"))[0]
    content, pixels = path.read_bytes(), np.asarray(Image.open(path))
    table = predictor.predict([content, pixels, pixels[..., 0], b"no image"])
    assert table["path"].tolist() == ["0", "1", "2", "3"]
    assert table["error"].tolist() == ["", "", "", "not an image"]
    assert table["p(dark)"][0] == table["p(dark)"][1]
    assert np.isnan(table["probability"][3])
    assert predictor.predict(pixels)["p(dark)"][0] == pytest.approx(table["p(dark)"][1], abs=1e-6)
    assert predictor.predict(np.stack([pixels] * 3))["label"].nunique() == 1
    assert predictor.predict([]).empty
    for wrong in (pixels.astype(float), pixels[..., :2], 3):
        with pytest.raises(TypeError, match="an image is a path, bytes, or an array, uint8"):
            predictor.predict([wrong])
    with pytest.raises(InputError, match="no such file or directory"):
        predictor.predict("absent.png")


def test_training_gets_the_data_and_the_options(examples):
    options, dataset = examples["trained"]
    assert dataset is examples["table"]
    assert (options.layout, options.protocol, options.epochs) == ("gray22", "absent", 1)
    assert options.command == (
        "python tools/train.py --dataset=table --data_dir=DIR --image_root=IMAGES --backbone=1x64 "
        "--protocol=absent --layout=gray22 --epochs=1"
    )
    assert options.model_dir == os.path.join("saved_models", "first")


def test_a_recipe_gives_the_options_that_are_not_given(monkeypatch, image_folder):
    monkeypatch.setattr(training_run, "train", lambda options, dataset: options)
    chosen = covid_lm.train(image_folder, recipe="named", epochs=2, output_dir=pathlib.Path("~/x"))
    assert chosen.model_dir == os.path.expanduser("~/x/folder-1x128-paper-paper")
    assert (chosen.dataset, chosen.data_dir, chosen.epochs) == ("folder", image_folder, 2)
    assert (chosen.backbone, chosen.schedule) == ("1x128", "cosine")


def test_evaluation_is_the_tools(examples, finished_run):
    metrics, expected = examples["metrics"]["protocols"], finished_run.metrics["protocols"]
    assert {name: row["auc"] for name, row in metrics.items()} == {
        name: row["auc"] for name, row in expected.items()
    }
    assert "metrics" not in repr(finished_run)
    assert {*examples["metrics"].factors["note"]} == {"fewer than 10 images"}
    assert len(examples["metrics"].predictions) == sum(row["n"] for row in metrics.values())


@pytest.mark.slow
def test_a_frame_is_trained_on_and_kept(frame, image_folder, tmp_path):
    data = covid_lm.load_dataset(frame.drop(columns="fold"), image_root=image_folder)
    options = {"backbone": "1x64", "layout": "gray22", "protocol": "absent", "epochs": 1}
    run = covid_lm.train(data, output_dir=str(tmp_path), name="own", **options)
    table = os.path.join(run.model_dir, "run", "splits.csv")
    again = covid_lm.load_dataset(table, image_root=image_folder)
    assert facts(again, image_folder) == facts(data, image_folder)
    assert covid_lm.evaluate(run, again)["protocols"] == run.metrics["protocols"]
