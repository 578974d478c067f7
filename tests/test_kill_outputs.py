"""kill -9 at every step of writing an audit: no file is half-written."""

import contextlib
import io
import itertools
import multiprocessing
import os
import pathlib
import signal
import sys
from collections.abc import Callable

import pytest

from covid_lm.auditing.command import run_audit

pytestmark = pytest.mark.slow
STEPS = ("open", "os.rename", "os.mkdir", "os.remove")  # events of sys.addaudithook


def audit(image_folder: str, output: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        run_audit("folder", image_folder, output=output)


def run_until(step: int, command: Callable, arguments: tuple[str, ...], root: str) -> None:
    """Runs the command, and kills this process before the given access to a path below `root`."""
    steps = itertools.count(1)

    def kill_at_step(event: str, event_arguments: tuple) -> None:
        if event in STEPS and str(event_arguments[0]).startswith(root) and next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(kill_at_step)
    command(*arguments)


def test_outputs_are_complete_or_absent(image_folder, tmp_path):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["covid_lm.auditing.command"])

    def exit_code(step: int, output: pathlib.Path) -> int | None:
        arguments = (image_folder, str(output))
        process = context.Process(target=run_until, args=(step, audit, arguments, str(output)))
        process.start()
        process.join()
        return process.exitcode

    def contents(output: pathlib.Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in output.glob("*[!t]")}  # but for .part

    assert exit_code(0, tmp_path / "expected") == 0
    expected = contents(tmp_path / "expected")
    assert len(expected) == 2
    output = tmp_path / "killed"
    kills = 0
    for step in itertools.count(1):
        code = exit_code(step, output)
        assert contents(output).items() <= expected.items()
        if code == 0:
            break
        assert code == -signal.SIGKILL
        kills += 1
    print(f"killed {kills} times, and then finished by the same command")
    assert kills >= 3 * len(expected)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == expected
