"""tools/predict.py as a command: exit status, errors in one line, no needless imports."""

import csv
import json
import os
import subprocess
import sys

import pytest
import tensorflow as tf

from covid_lm.errors import InputError
from covid_lm.serving.predict import predict_files
from tests.conftest import REPOSITORY, encode, random_picture
from tests.serving.conftest import NAME
from tests.tool_arguments import load_tool


def run_tool(*arguments: str, before: str = "") -> subprocess.CompletedProcess:
    """Runs tools/predict.py, after the statements `before`, in a process of its own."""
    run = "import runpy; runpy.run_path('tools/predict.py', run_name='__main__')"
    script = f"import sys\nsys.argv[0] = 'predict.py'\n{before}\n{run}"
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_tool_without_a_server():
    no_pauses = "import covid_lm.serving.model_client as client; client.FIRST_PAUSE = 0.0"
    run = run_tool("--server=http://127.0.0.1:1", "setup.cfg", before=no_pauses)
    message = "--server=http://127.0.0.1:1: unavailable, despite retries (Connection refused)"
    assert (run.returncode, run.stdout, run.stderr) == (1, "", f"predict.py: {message}\n")


def test_the_images_of_a_table(version_dirs, tmp_path, capsys):
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(encode(random_picture(20, 30, number)))
    table = tmp_path / "table.csv"
    table.write_text("file,sex\n2.png,F\n0.png,M\n")
    predict, values = load_tool(str(REPOSITORY / "tools" / "predict.py"))
    for name in values:
        values[name].unparse()
    options = [f"--model={os.path.dirname(version_dirs['masked'])}", "--format=csv"]
    values(["predict.py", *options, "--dataset=table", f"--data_dir={table}"])
    predict.options()
    assert predict.main(["predict.py"]) == 0
    with pytest.raises(InputError, match=r"x\.png: give either files or --dataset=table"):
        predict.main(["predict.py", "x.png"])
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert [row["path"] for row in rows] == [str(tmp_path / "2.png"), str(tmp_path / "0.png")]
    # So few files are predicted by a graph that isn't optimized; in this process, others are.
    assert not tf.config.optimizer.get_experimental_options()["disable_meta_optimizer"]
    optimized = predict_files(version_dirs["masked"], [row["path"] for row in rows])
    answers = [float(row["probability"]) for row in rows]
    assert answers == pytest.approx([one.probability for one in optimized], abs=1e-5)


@pytest.mark.parametrize("arguments", [[], ["--model=x", "--server=127.0.0.1:1"]])
def test_the_tool_needs_a_model_or_a_server(arguments):
    run = run_tool(*arguments, "setup.cfg")
    message = "give either --model=saved_models/NAME or --server=HOST:PORT"
    assert (run.returncode, run.stderr) == (2, f"predict.py: {message}\n")


def test_a_pipeline_without_beam():
    run = run_tool(
        "--runner=DirectRunner",
        "--model=tools",
        "--output=y",
        "*.png",
        before="sys.modules['apache_beam'] = None",
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("predict.py: --runner needs Apache Beam (")
    assert run.stderr.endswith("): pip install 'covid_lm[beam]'\n")
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--runner=DirectRunner"], "--runner needs --model and --output=PREFIX, and no --server"),
        (["--model=x", "--output=y"], "--output and --beam_options need --runner"),
        (["--model=x", "--beam_options=--y"], "--output and --beam_options need --runner"),
    ],
)
def test_flags_of_a_pipeline(arguments, message):
    run = run_tool(*arguments, "*.png")
    assert (run.returncode, run.stderr) == (2, f"predict.py: {message}\n")


def test_rest_needs_neither_tensorflow_nor_keras(served, version_dirs, mixed_files):
    run = run_tool(
        f"--server={served['masked'][1]['rest']}",
        f"--model_name={NAME}",
        "--format=json",
        "--batch_size=4",
        os.path.dirname(mixed_files[0]),
        before="sys.modules.update(dict.fromkeys(['tensorflow', 'keras', 'grpc', 'numpy']))",
    )
    assert (run.returncode, run.stderr) == (1, "")
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    direct = list(predict_files(version_dirs["masked"], mixed_files, 4))
    assert [row["error"] for row in rows] == [p.error for p in direct]
    assert [tuple(row["probabilities"]) for row in rows] == [p.probabilities for p in direct]
