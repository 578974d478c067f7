"""Names that are not UTF-8, not printable, very long or equal, from the data to every output."""

import csv
import json
import os
import pathlib
import subprocess
import sys

import pytest

from covid_lm.data import load_dataset
from covid_lm.files import list_names
from covid_lm.serving.predict import image_files, predict_files, write_predictions
from covid_lm.training.options import TrainingOptions
from covid_lm.training_run import train
from tests.conftest import REPOSITORY, encode, exports_not_compared, random_picture

CLASSES = (r"a\nb", r"caf\xe9")  # as shown
FOLDERS = ("a\nb", os.fsdecode(b"caf\xe9"))
NAMES = [
    "slice.png",  # in a folder of each patient
    "\x1b[31mred.png",
    "line\nline.png",
    os.fsdecode(b"radiograf\xeda.png"),
    "n" * 251 + ".png",
    "\u00e9.png",
    "e\u0301.png",
]


@pytest.fixture(scope="module")
def odd_folder(tmp_path_factory) -> str:
    """Two classes, each with a file of every name in three folders of patients."""
    root = tmp_path_factory.mktemp("odd")
    for label, class_name in enumerate(FOLDERS):
        for patient in range(3):
            directory = root / class_name / f"patient{label}{patient}"
            directory.mkdir(parents=True)
            for number, name in enumerate(NAMES):
                seed = 100 * label + 10 * patient + number
                (directory / name).write_bytes(encode(random_picture(8, 9, seed)))
    return str(root)


@pytest.fixture(scope="module")
def odd_run(odd_folder, tmp_path_factory):
    options = TrainingOptions(
        dataset="folder",
        data_dir=odd_folder,
        backbone="1x64",
        epochs=1,
        protocol="masked",
        output_dir=str(tmp_path_factory.mktemp("saved_models")),
    )
    with exports_not_compared():
        return train(options)


def test_a_data_set_has_visible_names_and_the_file_names_as_they_are(odd_folder):
    dataset = load_dataset("folder", odd_folder)
    assert dataset.classes == CLASSES
    assert len({record.path for record in dataset.records}) == len(dataset.records) == 42
    assert all(record.path.isprintable() for record in dataset.records)
    assert {record.filename for record in dataset.records} == set(NAMES)
    accents = {dataset.path_below(r) for r in dataset.records if r.filename in NAMES[-2:]}
    assert {path.rpartition("/")[2] for path in accents} == {r"\xe9.png", r"e\u0301.png"}
    assert all(record.read().startswith(b"\x89PNG") for record in dataset.records)


def test_a_run_has_a_row_and_a_sample_of_every_image(odd_run, odd_folder):
    run_dir = pathlib.Path(odd_run.model_dir) / "run"
    dataset = load_dataset("folder", odd_folder)
    test = dataset.split("test")
    with open(run_dir / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["protocol"] == "masked"]
    assert [row["path"] for row in rows] == [dataset.path_below(record) for record in test]
    assert len({row["path"] for row in rows}) == len(test) == 8
    assert {row["label"] for row in rows} == set(CLASSES)
    samples = list_names(str(run_dir / "samples"))
    assert len(samples) == 6
    assert all(name.isprintable() and len(name.encode()) <= 200 for name in samples)
    for name in ("README.md", "report.html"):
        text = (run_dir / name).read_text(encoding="utf-8")
        assert text.replace("\n", "").replace("\t", "").isprintable()


def test_an_export_has_a_label_a_line(odd_run):
    labels = pathlib.Path(odd_run.version_dir) / "assets" / "labels.txt"
    assert labels.read_text(encoding="utf-8").splitlines() == list(CLASSES)


def test_predictions_have_a_visible_row_a_file(odd_run, odd_folder, capsys):
    files = image_files([odd_folder])
    predictions = list(predict_files(odd_run.version_dir, files))
    tables = {}
    for style in ("table", "csv", "json"):
        assert write_predictions(predictions, style, files) == 0
        tables[style] = capsys.readouterr().out.splitlines()
    assert len(tables["table"]) == len(set(tables["table"])) == 42
    rows = list(csv.DictReader(tables["csv"]))
    assert len({row["path"] for row in rows}) == len(tables["csv"]) - 1 == 42
    assert all(line.isprintable() for line in (*tables["table"], *tables["csv"]))
    assert {row["label"] for row in rows} <= set(CLASSES)
    assert [json.loads(line)["path"] for line in tables["json"]] == files


@pytest.mark.parametrize(
    "environment",
    [
        {"LC_ALL": "C"},
        pytest.param({"LC_ALL": "C.UTF-8"}, marks=pytest.mark.slow),
        {"PYTHONIOENCODING": "ascii:strict"},
    ],
    ids=lambda environment: "-".join(environment.values()),
)
def test_a_tool_in_any_locale(odd_folder, tmp_path, environment):
    output = tmp_path / "audit\x1b[1m"
    flags = ("--dataset=folder", f"--data_dir={odd_folder}", f"--output={output}")
    run = subprocess.run(
        [sys.executable, "tools/audit.py", *flags],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, b"")
    assert run.stdout.decode().replace("\n", "").isprintable()
    lines = run.stdout.decode().splitlines()
    assert lines[0] == "audit of folder: 42 images"
    assert lines[-1] == (
        rf"written: {tmp_path}/audit\x1b[1m/audit.json, {tmp_path}/audit\x1b[1m/audit.html"
    )
    assert json.loads((output / "audit.json").read_text())["classes"] == list(CLASSES)
