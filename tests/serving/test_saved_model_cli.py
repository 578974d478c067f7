"""TensorFlow's own command line on an export, as the README uses it."""

import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from covid_lm.serving.saved_model import write_saved_model
from tests.conftest import encode, random_picture
from tests.serving.tiny_model import tiny_classifier

PICTURE = encode(random_picture(40, 30, 3))


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("saved_models") / "1")
    write_saved_model(tiny_classifier("masked"), path, {})
    return path


def command_line(*arguments: str) -> str:
    path = pathlib.Path(sys.executable).parent / "saved_model_cli"
    process = subprocess.run(
        [sys.executable, str(path), *arguments], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_show_lists_the_contract(exported):
    text = command_line("show", "--dir", exported, "--all")
    names = set(re.findall(r"signature_def\['(\w+)'\]", text))
    assert {"serving_default", "classify", "embed", "tokenize"} <= names
    for tensor in ("image_bytes", "filename", "probabilities", "label", "valid", "token_ids"):
        assert f"['{tensor}']" in text


def test_run(exported, tmp_path):
    np.save(tmp_path / "image_bytes.npy", np.array([PICTURE, b"junk"], object))
    np.save(tmp_path / "filename.npy", np.array([b"a.png", b"b.png"], object))
    options = ["--tag_set", "serve", "--signature_def", "serving_default"]
    inputs = ";".join(f"{k}={tmp_path}/{k}.npy" for k in ("image_bytes", "filename"))
    text = command_line("run", "--dir", exported, *options, "--inputs", inputs)
    assert re.search(r"Result for output key valid:\s*\[ True False\]", text)
    serve = tf.saved_model.load(exported).signatures["serving_default"]
    answer = serve(image_bytes=[PICTURE, b"junk"], filename=["a.png", "b.png"])
    assert str(answer["probabilities"].numpy()[0][0])[:6] in text


def test_classify_through_input_examples(exported):
    # The inputs are split at semicolons before they are read as Python literals: escape all bytes.
    literal = "b'" + "".join(f"\\x{byte:02x}" for byte in PICTURE) + "'"
    examples = f"inputs=[{{'image/encoded': [{literal}], 'image/filename': [b'a.png']}}]"
    text = command_line(
        "run", "--dir", exported, "--tag_set", "serve", "--signature_def", "classify",
        "--input_examples", examples,
    )  # fmt: skip
    assert "Result for output key scores" in text
    assert "nan" not in text
    assert "b'dog'" in text


def test_scan_finds_nothing(exported):
    text = command_line("scan", "--dir", exported)
    assert "does not contain the default denylisted ops" in text
