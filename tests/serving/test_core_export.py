"""The exports for ONNX Runtime and LiteRT: refusals, and their example against the live model."""

import importlib.util
import io
import json
import os
import runpy
import shutil
import subprocess
import sys
import types

import numpy as np
import pytest
import tensorflow as tf

from covid_lm import export
from covid_lm.data.records import ImageRecord
from covid_lm.errors import InputError, RunError
from covid_lm.export import write_core
from covid_lm.models.pixel_classifier import PixelClassifier
from covid_lm.models.saving import save_config, save_weights
from covid_lm.pipeline.decoded import decode_records
from covid_lm.serving import core_export
from covid_lm.serving.core_export import EXAMPLE, FORMATS, TOKENIZER
from covid_lm.serving.saved_model import recomputed
from tests.conftest import REPOSITORY, encode, random_picture
from tests.serving.tiny_model import CLASSES, tiny_classifier
from tests.tool_arguments import check_arguments

PACKAGES = {
    "onnx": ("torch", "onnx", "onnxscript", "onnxruntime"),
    "litert": ("ai_edge_litert",),
}
FILES = ["README.md", "predict.py", "tokenizer.json"]
NAMES = ("a.png", "B" * 150 + ".png", "c.png")


@pytest.mark.parametrize(
    ("kind", "missing"),
    [("onnx", "onnx, onnxscript, onnxruntime"), ("litert", "ai_edge_litert")],
)
def test_missing_packages_are_named_with_their_extra(kind, missing, monkeypatch):
    find, absent = importlib.util.find_spec, missing.split(", ")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in absent else find("json")
    )
    with pytest.raises(InputError) as error:
        check_arguments(
            str(REPOSITORY / "tools" / "export.py"), ["--run=x", f"--format={kind}", "--output=y"]
        )
    message = f"--format={kind}: needs pip install 'covid_lm[{kind}]' (no {missing})"
    assert str(error.value) == message


@pytest.mark.parametrize("kind", FORMATS)
def test_directories_of_other_files_and_runs_without_tokens(kind, tmp_path, monkeypatch):
    (tmp_path / FORMATS[kind].file).write_text("mine")
    with pytest.raises(InputError, match=r"^--output=.*: holds other files; give another dir"):
        write_core("absent", str(tmp_path), kind)
    monkeypatch.setattr(export, "load_classifier", lambda _: PixelClassifier)
    with pytest.raises(InputError, match=r"^--run=absent: reads no tokens; use --format=saved_mo"):
        write_core("absent", str(tmp_path / "new"), kind)


def write_run(model_dir, protocol: str, layout: str):
    """Writes a tiny classifier's run with sample images; returns it and their paths."""
    classifier = tiny_classifier(protocol, layout)
    run_dir = str(model_dir / "run")
    os.makedirs(os.path.join(run_dir, "samples"))
    save_config(classifier, run_dir, {})
    save_weights(classifier, run_dir)
    paths = [model_dir / "run" / "samples" / name for name in NAMES]
    for seed, path in enumerate(paths):
        path.write_bytes(encode(random_picture(30 + 70 * seed, 150 - 61 * seed, seed)))
    return classifier, paths


def test_litert_without_its_package(tmp_path, monkeypatch):
    """With TensorFlow's interpreter, in this process: all operations must be LiteRT's own."""
    package = types.SimpleNamespace(Interpreter=tf.lite.Interpreter)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", types.ModuleType("ai_edge_litert"))
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", package)
    expected = []

    def export_here(title, module, *arguments, keras_backend):
        core_export.write_core(*arguments)

    def recompute(*arguments):
        expected.append(recomputed(*arguments))
        return expected[-1]

    monkeypatch.setattr(core_export, "run_child", export_here)
    monkeypatch.setattr(core_export, "recomputed", recompute)
    write_run(tmp_path / "model", "masked", "patches32x4rgb")
    output = tmp_path / "litert"
    assert write_core(str(tmp_path / "model"), str(output), "litert") < 1e-5
    assert sorted(os.listdir(output)) == [*FILES[:1], "core.tflite", *FILES[1:]]
    text = (output / "README.md").read_text("utf-8")
    assert text.startswith("# An image classifier for LiteRT\n")
    assert "`pillow` and `ai-edge-litert`" in text

    def copy(title, module, run_dir, staged, kind, keras_backend):
        shutil.copytree(output, staged, dirs_exist_ok=True)

    monkeypatch.setattr(core_export, "run_child", copy)  # the same core again
    monkeypatch.setattr(core_export, "recomputed", lambda *arguments: expected[0] + 2e-4)
    with pytest.raises(RunError, match=r"^.*new: not written, the example's probabilities differ"):
        write_core(str(tmp_path / "model"), str(tmp_path / "new"), "litert")
    assert sorted(os.listdir(tmp_path)) == ["litert", "model"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(
    ("protocol", "layout"),
    [
        ("paper", "paper"),
        ("fixed", "gray22"),
        ("masked", "patches32x4rgb"),
        ("absent", "patches128x8"),
    ],
)
def test_the_example_answers_like_the_live_model(protocol, layout, kind, tmp_path):
    for name in PACKAGES[kind]:
        pytest.importorskip(name)
    classifier, paths = write_run(tmp_path / "model", protocol, layout)
    output = str(tmp_path / kind)
    difference = write_core(str(tmp_path / "model"), output, kind)
    assert difference < 1e-4
    size = os.path.getsize(os.path.join(output, FORMATS[kind].file))
    print(f"{kind} {layout}: difference {difference:.1e}, {size} bytes")

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
