"""Predictions for files in this process, and their formats."""

import json
import os
import pathlib

import numpy as np
import pytest

from covid_lm.data.conversion import convert
from covid_lm.data.windows import Window
from covid_lm.errors import InputError, RunError
from covid_lm.serving.predict import (
    Prediction,
    image_files,
    in_batches,
    predict_files,
    window_of,
    write_predictions,
)
from covid_lm.serving.versions import resolve_model
from tests.conftest import encode, random_picture
from tests.data.dicom_files import write_dicom
from tests.serving.tiny_model import CLASSES


@pytest.fixture(scope="module")
def version_dir(version_dirs) -> str:
    return version_dirs["masked"]


@pytest.fixture
def folder_of_files(tmp_path):
    (tmp_path / "sub").mkdir()
    for number, name in enumerate(["b.png", "a.jpg", "sub/c d%.gif"]):
        image_format = {"png": "PNG", "jpg": "JPEG", "gif": "GIF"}[name[-3:]]
        (tmp_path / name).write_bytes(encode(random_picture(20, 30, number), image_format))
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere")
    return tmp_path


def test_every_file_is_answered_once_in_order(version_dir, folder_of_files):
    files = image_files([str(folder_of_files), str(folder_of_files / "a.jpg")])
    names = ["a.jpg", "b.png", "empty.png", "gone.png", "sub/c d%.gif", "text.jpg"]
    assert [os.path.relpath(path, folder_of_files) for path in files] == names
    predictions = list(predict_files(version_dir, files, batch_size=2))
    assert [p.path for p in predictions] == files
    errors = {os.path.basename(p.path): p.error for p in predictions if p.error}
    assert errors == {
        "empty.png": "empty",
        "gone.png": "No such file or directory",
        "text.jpg": "not an image",
    }
    good = [p for p in predictions if not p.error]
    assert all(p.label == CLASSES[p.probabilities.index(max(p.probabilities))] for p in good)
    alone = next(predict_files(version_dir, [files[1]]))
    assert alone.probabilities == pytest.approx(predictions[1].probabilities, abs=1e-6)


def test_formats(version_dir, folder_of_files, capsys):
    files = image_files([str(folder_of_files)])
    predictions = list(predict_files(version_dir, files))
    texts = {}
    for style in ("table", "csv", "json"):
        assert write_predictions(predictions, style) == 3
        texts[style] = capsys.readouterr().out
    assert len(texts["table"].splitlines()) == 6
    assert f"{files[2]}: empty" in texts["table"]
    assert texts["csv"].splitlines()[0] == "path,label,probability,error"
    rows = [json.loads(line) for line in texts["json"].splitlines()]
    assert [row["path"] for row in rows] == files
    assert rows[2]["probability"] is None
    assert sum(rows[0]["probabilities"]) == pytest.approx(1, abs=1e-5)


def test_paths_that_are_not_there(tmp_path):
    with pytest.raises(InputError, match="absent: no such file or directory"):
        image_files([str(tmp_path / "absent")])
    with pytest.raises(InputError, match="no files to predict"):
        image_files([str(tmp_path)])


def test_a_model_that_cant_be_loaded(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"junk")
    with pytest.raises(RunError, match=r"/1: can't be loaded as a model"):
        next(predict_files(str(tmp_path / "1"), ["x"]))


def test_resolve_model(version_dir, tmp_path):
    model_dir = os.path.dirname(version_dir)
    assert resolve_model(model_dir) == (model_dir, version_dir)
    assert resolve_model(f"{version_dir}/") == (model_dir, version_dir)
    with pytest.raises(InputError, match="no exported version in it"):
        resolve_model(str(tmp_path))
    with pytest.raises(InputError, match="no such directory"):
        resolve_model(str(tmp_path / "absent"))


def test_dicom_files_are_converted_before_a_model_sees_them(tmp_path):
    frames = np.arange(3, dtype=np.uint8)[:, None, None] * 100 * np.ones((1, 4, 6), np.uint8)
    path = write_dicom(tmp_path / "a.dcm", frames)
    (tmp_path / "cut.dcm").write_bytes(pathlib.Path(path).read_bytes()[:-9])
    seen = []

    def answer(batch):
        seen.extend(batch)
        return [Prediction(name, "label", 1.0, (1.0,)) for name, _ in batch]

    files = [path, f"{path}!3", str(tmp_path / "cut.dcm")]
    window = Window(100, 100)
    predictions = list(in_batches(files, answer, 2, window))
    content = pathlib.Path(path).read_bytes()
    assert seen == [
        (path, convert(content, path, window)),
        (f"{path}!3", convert(content, path, window, frame=2)),
    ]
    assert [bool(prediction.error) for prediction in predictions] == [False, False, True]
    assert predictions[2].error.startswith("damaged DICOM (")


@pytest.mark.parametrize(
    ("config", "window"),
    [
        (None, None),
        ({}, None),
        ({"run": {"window": None}}, None),
        ({"run": {"window": "lung"}}, "lung"),
        ({"run": []}, None),
    ],
)
def test_the_window_of_an_export(tmp_path, config, window):
    if config is not None:
        (tmp_path / "assets.extra").mkdir()
        (tmp_path / "assets.extra" / "config.json").write_text(json.dumps(config))
    assert window_of(str(tmp_path)) == window
