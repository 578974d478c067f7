"""SIGTERM in a small process without TensorFlow."""

import signal
import subprocess
import sys

import pytest

from covid_lm.training.termination import EXIT_STATUS, Terminated, Termination

PRELUDE = """\
import os, signal, sys, threading, time
from covid_lm.training import termination
from covid_lm.training.termination import Termination
termination.GRACE = 0.2
def send(): os.kill(os.getpid(), signal.SIGTERM)
"""
LINE = "SIGTERM; the same command resumes from what was saved last\n"


def run(script: str) -> tuple[int, str, str]:
    process = subprocess.run(
        [sys.executable, "-c", PRELUDE + script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return process.returncode, process.stdout, process.stderr.removeprefix("-c: ")


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (  # nothing to save: it ends at once
            "with Termination():\n    send(); time.sleep(30)",
            (143, "", LINE),
        ),
        (  # saved in time
            "with Termination() as termination, termination.deferred():\n"
            "    send()\n"
            "    while not termination.requested: time.sleep(0.01)\n"
            "    print('saved'); sys.exit(5)",
            (5, "saved\n", ""),
        ),
        (  # a step that never returns to Python's own handlers
            "with Termination() as termination, termination.deferred():\n"
            "    send(); threading.Lock().acquire() and threading.Event().wait(30)",
            (143, "", LINE),
        ),
        (  # saved, and then busy again for too long
            "with Termination() as termination:\n"
            "    with termination.deferred():\n"
            "        send()\n"
            "        while not termination.requested: time.sleep(0.01)\n"
            "    time.sleep(30)",
            (143, "", LINE),
        ),
        (  # other signals are not taken for it
            "signal.signal(signal.SIGUSR1, lambda *_: print('other'))\n"
            "with Termination() as termination:\n"
            "    os.kill(os.getpid(), signal.SIGUSR1); time.sleep(0.1)\n"
            "    print(termination.requested)",
            (0, "other\nFalse\n", ""),
        ),
        (  # what was before is there again
            "signal.signal(signal.SIGTERM, lambda *_: print('mine'))\n"
            "with Termination(): pass\n"
            "send()",
            (0, "mine\n", ""),
        ),
        (  # where Python lets nobody handle signals, nothing happens
            "def work():\n"
            "    with Termination() as termination, termination.deferred():\n"
            "        print(termination.requested)\n"
            "thread = threading.Thread(target=work); thread.start(); thread.join()",
            (0, "False\n", ""),
        ),
    ],
)
def test_sigterm(script, expected):
    assert run(script) == expected


def test_the_exit_status_is_the_shells():
    assert EXIT_STATUS == Terminated.exit_status == 128 + signal.SIGTERM == 143
    assert not Termination().requested
