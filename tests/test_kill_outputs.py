"""kill -9 at every step of writing outputs: complete files or none, and the same command finishes.

`training/test_kill.py` has training and pre-training, `serving/test_export_robustness.py` exports.
"""

import contextlib
import io
import itertools
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from covid_lm.files import write_json
from tests.conftest import REPOSITORY

STEPS = ("open", "os.rename", "os.mkdir", "os.remove")  # events of sys.addaudithook


def audit(image_folder: str, output: str, model: str) -> None:
    from covid_lm.auditing.command import run_audit

    with contextlib.redirect_stdout(io.StringIO()):
        run_audit("folder", image_folder, output=output)


def evaluate(image_folder: str, output: str, model: str) -> None:
    from covid_lm.evaluation_run import evaluate_run

    os.makedirs(output, exist_ok=True)
    record, metrics = os.path.join(output, "record.json"), os.path.join(output, "metrics.json")
    with contextlib.redirect_stdout(io.StringIO()):
        evaluate_run(model, "folder", image_folder, output=metrics, record=record)


def write_encoder(image_folder: str, output: str, model: str) -> None:
    from covid_lm import export

    export.write_encoder(model, os.path.join(output, "weights"))


def run_until(step: int, command: Callable, arguments: tuple, root: str) -> None:
    """Runs the command, and kills this process before the given access to a path below `root`."""
    steps = itertools.count(1)

    def kill_at_step(event: str, event_arguments: tuple) -> None:
        if event in STEPS and str(event_arguments[0]).startswith(root) and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(kill_at_step)
    command(*arguments)


WRITE_JSON = """
import sys
from tests.test_kill_outputs import run_until, write_json
step, path = int(sys.argv[1]), sys.argv[2]
run_until(step, write_json, (path, {"new": "content"}), path)
"""


def test_a_written_file_is_the_old_one_or_the_new_one(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(str(path), {"old": "content"})
    versions = [path.read_text()]
    for step in itertools.count(1):
        command = [sys.executable, "-c", WRITE_JSON, str(step), str(path)]
        killed = subprocess.run(command, cwd=REPOSITORY, check=False).returncode
        versions.append(path.read_text())
        if killed == 0:
            break
        assert killed == -signal.SIGKILL
    write_json(str(tmp_path / "new.json"), {"new": "content"})
    assert versions[-1] == (tmp_path / "new.json").read_text()
    # Before and after the file next to it was opened, and renamed.
    assert versions[:-1] == versions[:1] * len(versions[:-1])
    assert len(versions) >= 4
    assert sorted(os.listdir(tmp_path)) == ["metrics.json", "new.json"]


@pytest.mark.slow
@pytest.mark.parametrize(("command", "num_files"), [(audit, 2), (evaluate, 3), (write_encoder, 3)])
def test_outputs_are_complete_or_absent(command, num_files, image_folder, finished_run, tmp_path):
    # Each process starts from a server that has imported TensorFlow but not used it.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["covid_lm.auditing.command", "covid_lm.evaluation_run", "covid_lm.export"]
    )

    def exit_code(step: int, output: pathlib.Path) -> int | None:
        arguments = (image_folder, str(output), finished_run.model_dir)
        process = context.Process(target=run_until, args=(step, command, arguments, str(output)))
        process.start()
        process.join()
        return process.exitcode

    def contents(output: pathlib.Path) -> dict[str, bytes]:
        """All files but those of unfinished writing."""
        files = {str(path.relative_to(output)): path for path in output.rglob("*.*")}
        return {n: p.read_bytes() for n, p in files.items() if ".part" not in n and p.is_file()}

    assert exit_code(0, tmp_path / "expected") == 0
    expected = contents(tmp_path / "expected")
    assert len(expected) == num_files
    output = tmp_path / "killed"
    kills = 0
    for step in itertools.count(1):
        code = exit_code(step, output)
        found = contents(output)
        assert found.items() <= expected.items()
        assert command is not write_encoder or len(found) in (0, num_files)
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
    print(f"{command.__name__}: killed {kills} times, and then finished by the same command")
    assert kills >= 2 * len(expected)
    assert contents(output) == expected
    assert not list(output.rglob("*.part"))  # those of the killed commands are gone
