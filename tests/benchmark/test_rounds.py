"""Turns of a case: their order, their processes, and the calls that one of them times."""

import dataclasses
import os
import time

import numpy as np
import pytest

from covid_lm.benchmark import worker
from covid_lm.benchmark.cases import Case
from covid_lm.benchmark.raw_image_contenders import IMAGES
from covid_lm.benchmark.rounds import Progress, measure, ratio
from covid_lm.benchmark.worker import Contender, measure_here, timed_calls, turn
from covid_lm.environment import run_child
from covid_lm.errors import RunError
from tests.benchmark.canned_worker import contenders_alive
from tests.conftest import REPOSITORY

CASE = Case("inference", "1x64", "float32", 2, threads=1, length=16)
SHORT = dataclasses.replace(CASE, min_seconds=0.05)


@pytest.fixture
def canned(monkeypatch):
    """Workers that are real processes, and report which ones are alive at the same time."""
    monkeypatch.setattr(worker, "MODULE", "tests.benchmark.canned_worker")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))


def test_no_two_contenders_are_alive_at_once(canned, capsys):
    names = ("covid_lm", "keras_hub", "hugging_face")
    found = measure(CASE, names, rounds=2, progress=Progress(6))
    pids = [pid for name in names for pid in found[name]["pid"]]
    assert len(set(pids)) == 6
    # Each process saw itself as the only contender. None is left, not even one that has ended
    # without its parent having waited for it.
    assert [alive for name in names for alive in found[name]["alive"]] == [[pid] for pid in pids]
    assert contenders_alive(os.getpid()) == []
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "6 turns, about 1 minutes"
    contenders = [line.split(": ")[1].split()[0] for line in lines[1:]]
    assert contenders == [*names, *reversed(names)]
    assert lines[6].endswith("batch 2, 16 tokens, round 2/2: covid_lm 0.500 s a step")


def test_a_failed_contender_is_named_with_its_last_line(canned):
    with pytest.raises(RunError, match=r"^benchmark of keras_hub failed: no room for 3$"):
        turn("keras_hub", dataclasses.replace(CASE, batch_size=3))


def test_a_failure_without_a_message_reports_the_exit_status(canned):
    with pytest.raises(RunError, match=r"^a test failed: exit status 1$"):
        run_child("a test", "tests.benchmark.canned_worker", '{"contender": ""}')


def test_a_turn_lasts_for_its_calls_and_its_seconds():
    start = time.perf_counter()
    quick = timed_calls(lambda: None, SHORT)
    assert time.perf_counter() - start >= SHORT.min_seconds
    assert len(quick) > SHORT.min_calls == 5
    slow = timed_calls(lambda: time.sleep(0.02), dataclasses.replace(SHORT, min_seconds=0.0))
    assert len(slow) == 5
    assert all(seconds >= 0.02 for seconds in slow)


def test_several_callers_call_at_the_same_time():
    case = dataclasses.replace(SHORT, callers=4, min_calls=8, min_seconds=0.0)
    start = time.perf_counter()
    calls = timed_calls(lambda: time.sleep(0.1), case)
    spent = time.perf_counter() - start
    assert 8 <= len(calls) <= 11  # a caller that has begun a call ends it
    assert 0.2 <= spent < 0.8  # of one caller: 0.8


def test_a_caller_s_error_ends_the_turn():
    with pytest.raises(ZeroDivisionError):
        timed_calls(lambda: 1 / 0, dataclasses.replace(SHORT, callers=2))


def test_the_first_call_warms_up_and_the_product_is_timed_for_inference_only():
    called = []

    def build(case):
        return lambda: called.append("step") or time.sleep(0.3 if len(called) == 1 else 0.001)

    contender = Contender(build, product=lambda case: lambda: called.append("product"))
    result = measure_here(contender, SHORT)
    assert called.count("step") == 1 + len(result["calls"])
    assert max(result["calls"]) < 0.3
    assert result["seconds"] == np.median(result["calls"])
    assert result["peak_bytes"] > 10_000_000
    assert 0 < result["product_seconds"] < 0.01
    called.clear()
    callers = measure_here(contender, dataclasses.replace(SHORT, task="serving", callers=1))
    assert len(called) == IMAGES + len(callers["calls"])  # as a server that has warmed up
    training = measure_here(contender, dataclasses.replace(SHORT, task="training"))
    assert "product_seconds" not in training


def test_a_real_contender_in_a_process_of_its_own():
    case = dataclasses.replace(CASE, min_seconds=0.1)
    result = turn("covid_lm", case)
    assert len(result["calls"]) >= 5
    assert result["seconds"] > 0
    assert result["product_seconds"] > 0
    assert 200e6 < result["peak_bytes"] < 5e9


def test_a_ratio_is_that_of_each_round():
    figure = ratio(ours=[1.0, 2.0, 4.0], theirs=[2.0, 2.0, 12.0])
    assert figure == {"median": 2.0, "low": 1.0, "high": 3.0, "rounds": [2.0, 1.0, 3.0]}
