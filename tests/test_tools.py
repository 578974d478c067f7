"""The tools as a person meets them: help, one-line errors, exit statuses."""

import pathlib
import signal
import subprocess
import sys

import pytest

TOOLS = sorted((pathlib.Path(__file__).parents[1] / "tools").glob("*.py"))


def run(tool: str, *arguments: str) -> subprocess.CompletedProcess:
    path = next(path for path in TOOLS if path.stem == tool)
    command = [sys.executable, str(path), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def last_line(process: subprocess.CompletedProcess) -> str:
    return process.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: path.stem)
def test_help_answers_without_importing_tensorflow(path):
    script = (
        "import runpy, sys\n"
        "sys.argv = [sys.argv[1], '--help']\n"
        "try:\n"
        "    runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as stop:\n"
        "    heavy = {'tensorflow', 'keras', 'torch', 'sklearn', 'scipy'} & set(sys.modules)\n"
        "    sys.exit(f'{heavy} imported' if heavy else stop.code)\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert path.name.removesuffix(".py") in process.stdout
    assert "--" in process.stdout


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("train", ["--dataset=mnist"], "train.py: flag --dataset=mnist: value should be one of"),
        ("train", ["--unknown"], "train.py: Unknown command line flag 'unknown'"),
        ("train", ["--batch_size=0"], "train.py: --batch_size=0: must be at least 1"),
        ("train", ["--num_processes=2", "--coordinator=h:1"], "train.py: --num_processes=2: only"),
        ("train", ["--dataset=folder"], "train.py: --dataset=folder: needs --data_dir"),
        ("pretrain", ["--dataset=mnist"], "pretrain.py: flag --dataset=mnist: value should be one"),
        ("pretrain", ["--mask_rate=1"], "pretrain.py: --mask_rate=1.0: must be above 0 and below"),
        ("pretrain", ["--data_dir=x"], "pretrain.py: --data_dir: given 1 time(s), but needed once"),
        ("cross_validate", ["--augment=x"], "cross_validate.py: flag --augment=x: value should be"),
        ("cross_validate", ["--epochs=0"], "cross_validate.py: --epochs=0: must be at least 1"),
        ("predict", ["x.png"], "predict.py: give either --model="),
        ("export", ["--run=absent"], "export.py: absent/run: no finished run"),
        (
            "results",
            ["--records=absent"],
            "results.py: --records=absent: No such file or directory",
        ),
        ("evaluate", ["--model=absent"], "evaluate.py: --model=absent: no such directory"),
    ],
)
def test_wrong_flags_and_input_are_one_line_and_status_2(tool, arguments, message, tmp_path):
    if tool in ("train", "pretrain"):
        arguments = [*arguments, f"--output_dir={tmp_path}"]
    process = run(tool, *arguments)
    assert process.returncode == 2
    assert last_line(process).startswith(message)
    assert "Traceback" not in process.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_has_enough_is_no_error():
    script = (
        "from covid_lm.command_line import run_tool\n"
        "run_tool(lambda argv: [print('a line') for _ in range(100_000)])\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.read(6) == b"a line"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 128 + signal.SIGPIPE
