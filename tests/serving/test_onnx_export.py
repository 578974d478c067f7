"""The export for ONNX Runtime: refusals, and (slow) its example against the live model."""

import importlib.util
import io
import json
import os
import runpy
import subprocess
import sys

import numpy as np
import pytest

from covid_lm import export
from covid_lm.data.records import ImageRecord
from covid_lm.errors import InputError, RunError
from covid_lm.export import write_onnx
from covid_lm.models.pixel_classifier import PixelClassifier
from covid_lm.models.saving import save_config, save_weights
from covid_lm.pipeline.decoded import decode_records
from covid_lm.serving import onnx_export
from covid_lm.serving.onnx_export import EXAMPLE, TOKENIZER
from covid_lm.serving.saved_model import recomputed
from tests.conftest import REPOSITORY, encode, random_picture
from tests.serving.tiny_model import CLASSES, tiny_classifier
from tests.tool_arguments import check_arguments

PACKAGES = ("torch", "onnx", "onnxscript", "onnxruntime")
NAMES = ("a.png", "B" * 150 + ".png", "c.png")
FILES = ["README.md", "core.onnx", "predict.py", "tokenizer.json"]


def test_missing_packages_are_named_with_their_extra(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in PACKAGES[1:] else find("json")
    )
    message = r"^--format=onnx: needs pip install 'covid_lm\[onnx\]' \(no onnx, onnxscript, onnxru"
    with pytest.raises(InputError, match=message):
        check_arguments(
            str(REPOSITORY / "tools" / "export.py"), ["--run=x", "--format=onnx", "--output=y"]
        )


def test_directories_of_other_files_and_runs_without_tokens(tmp_path, monkeypatch):
    (tmp_path / "core.onnx").write_text("mine")
    with pytest.raises(InputError, match=r"^--output=.*: holds other files; give another dir"):
        write_onnx("absent", str(tmp_path))
    monkeypatch.setattr(export, "load_classifier", lambda _: PixelClassifier)
    with pytest.raises(InputError, match=r"^--run=absent: reads no tokens; use --format=saved_mo"):
        write_onnx("absent", str(tmp_path / "new"))


@pytest.fixture
def packages():
    for name in PACKAGES:
        pytest.importorskip(name)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("protocol", "layout"),
    [
        ("paper", "paper"),
        ("fixed", "gray22"),
        ("masked", "patches32x4rgb"),
        ("absent", "patches128x8"),
    ],
)
def test_the_example_answers_like_the_live_model(protocol, layout, packages, tmp_path, monkeypatch):
    classifier = tiny_classifier(protocol, layout)
    model_dir, output = str(tmp_path / "model"), str(tmp_path / "onnx")
    run_dir = os.path.join(model_dir, "run")
    os.makedirs(os.path.join(run_dir, "samples"))
    save_config(classifier, run_dir, {})
    save_weights(classifier, run_dir)
    paths = [tmp_path / "model/run/samples" / name for name in NAMES]
    for seed, path in enumerate(paths):
        path.write_bytes(encode(random_picture(30 + 70 * seed, 150 - 61 * seed, seed)))
    difference = write_onnx(model_dir, output)
    assert difference < 1e-4
    assert sorted(os.listdir(output)) == FILES
    print(layout, difference, {name: os.path.getsize(os.path.join(output, name)) for name in FILES})

    records = [ImageRecord(path.name, 0, "test", path.name, path.read_bytes) for path in paths]
    copy = classifier.serving_copy("float32")
    preprocessor = copy.preprocessor()
    tokens = decode_records(records, preprocessor.image_input).tokenize(preprocessor).tokens
    example = runpy.run_path(os.path.join(output, EXAMPLE))
    with open(os.path.join(output, TOKENIZER), encoding="utf-8") as file:
        settings = json.load(file)
    for index, record in enumerate(records):
        pixels = example["decode"](io.BytesIO(record.read()), settings)
        inputs = example["tokenize"](pixels, record.filename.encode(), settings)
        for key, values in inputs.items():
            expected = tokens[key][index]
            expected = copy.embedding_rows[expected] if key == "token_ids" else expected
            np.testing.assert_array_equal(values[0], expected)

    command = [sys.executable, os.path.join(output, EXAMPLE), *paths]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer["file"] for answer in answers] == [str(path) for path in paths]
    found = [[answer["probabilities"][name] for name in CLASSES] for answer in answers]
    expected = recomputed(copy, records)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected[:, 0]) > 1e-3

    if layout != "paper":
        return
    monkeypatch.setattr(onnx_export, "recomputed", lambda *arguments: recomputed(*arguments) + 2e-4)
    with pytest.raises(RunError, match=r"^.*new: not written, the example's probabilities differ"):
        write_onnx(model_dir, str(tmp_path / "new"))
    assert sorted(os.listdir(tmp_path)) == ["model", "onnx"]
