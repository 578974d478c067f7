"""TensorFlow's own saved_model_cli on an export, in one process for all commands."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.serving.conftest import IMAGES

COMMANDS = """
import contextlib, io, json, sys
from absl import flags
from tensorflow.python.tools import saved_model_cli
outputs = {}
for name, (command, *options) in json.loads(sys.argv[1]).items():
    for flag in flags.FLAGS:
        flags.FLAGS[flag].unparse()
    flags.FLAGS([command, *options])
    with contextlib.redirect_stdout(io.StringIO()) as output:
        getattr(saved_model_cli, command)()
    outputs[name] = output.getvalue()
print(json.dumps(outputs))
"""


@pytest.fixture(scope="module")
def outputs(version_dirs, tmp_path_factory) -> dict[str, str]:
    """Output of each command."""
    root, dir_flag = tmp_path_factory.mktemp("inputs"), f"--dir={version_dirs['masked']}"
    np.save(root / "image_bytes.npy", np.array([IMAGES[0], b"junk"], object))
    np.save(root / "filename.npy", np.array([b"a.png", b"b.png"], object))
    inputs = ";".join(f"{key}={root}/{key}.npy" for key in ("image_bytes", "filename"))
    # The inputs are split at semicolons before they are read as Python literals: escape all bytes.
    literal = "b'" + "".join(f"\\x{byte:02x}" for byte in IMAGES[0]) + "'"
    examples = f"inputs=[{{'image/encoded': [{literal}], 'image/filename': [b'a.png']}}]"
    run = ["run", dir_flag, "--tag_set=serve"]
    commands = {
        "show": ["show", dir_flag, "--all"],
        "scan": ["scan", dir_flag],
        "run": [*run, "--signature_def=serving_default", f"--inputs={inputs}"],
        "classify": [*run, "--signature_def=classify", f"--input_examples={examples}"],
    }
    process = subprocess.run(
        [sys.executable, "-c", COMMANDS, json.dumps(commands)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def test_show_lists_the_contract(outputs):
    names = set(re.findall(r"signature_def\['(\w+)'\]", outputs["show"]))
    assert {"serving_default", "classify", "embed", "tokenize"} <= names
    for tensor in (
        "image_bytes",
        "filename",
        "probabilities",
        "label",
        "valid",
        "reason",
        "token_ids",
    ):
        assert f"['{tensor}']" in outputs["show"]


def test_run(outputs, live):
    assert re.search(r"Result for output key valid:\s*\[ True False\]", outputs["run"])
    probabilities = live["masked"][1]  # of the same image, with the same name
    assert str(probabilities[0][0])[:6] in outputs["run"]


def test_classify_through_input_examples(outputs):
    assert "Result for output key scores" in outputs["classify"]
    assert "nan" not in outputs["classify"]
    assert "b'dog'" in outputs["classify"]


def test_scan_finds_nothing(outputs):
    assert "does not contain the default denylisted ops" in outputs["scan"]
