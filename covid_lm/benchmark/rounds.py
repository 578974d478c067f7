"""Rounds: the contenders of a case take turns, and the ratio of two of them is that of a round."""

import dataclasses
import importlib.util
import statistics
import time
from collections.abc import Sequence

import numpy as np

from covid_lm.benchmark.cases import Case, Planned
from covid_lm.benchmark.worker import CONTENDERS, turn

TURN_SECONDS = 14  # mean duration in suite `all` on two cores


class Progress:
    """Prints a line for each of a number of turns, with an estimate of the time left."""

    def __init__(self, turns: int):
        self._turns, self._done, self._start = turns, 0, time.monotonic()
        print(f"{turns} turns, about {max(turns * TURN_SECONDS / 60, 1):.0f} minutes", flush=True)

    def advance(self, text: str) -> None:
        """Print what was done in the turn that has just ended."""
        self._done += 1
        left = (time.monotonic() - self._start) / self._done * (self._turns - self._done)
        print(f"[{self._done}/{self._turns}, {left / 60:.0f} min left] {text}", flush=True)


def runnable(todo: Sequence[Planned]) -> tuple[list[Planned], list[str]]:
    """Leave out the contenders whose packages are not installed, with a note on each."""
    missing = {
        name: package
        for planned in todo
        for name in planned.contenders
        for package in CONTENDERS[name].needs
        if importlib.util.find_spec(package) is None
    }
    notes = [f"Left out: {name}, because {missing[name]} is not installed." for name in missing]
    kept = [tuple(name for name in item.contenders if name not in missing) for item in todo]
    pairs = zip(todo, kept, strict=True)
    return [dataclasses.replace(item, contenders=names) for item, names in pairs], notes


def measure(case: Case, contenders: Sequence[str], rounds: int, progress: Progress) -> dict:
    """Measure a case: in each round one turn of each contender, in alternating order.

    Returns:
        contender -> {"seconds": median of a step in each round, "calls": seconds of every step
        by round, "peak_bytes": the largest, and "product_seconds" by round where measured}.

    Raises:
        RunError: a contender failed.
    """
    turns: dict[str, list[dict]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name in contenders if number % 2 == 0 else reversed(contenders):
            turns[name].append(turn(name, case))
            seconds = turns[name][-1]["seconds"]
            progress.advance(f"{case}, round {number + 1}/{rounds}: {name} {seconds:.3f} s a step")
    return {name: _combine(found) for name, found in turns.items()}


def _combine(turns: list[dict]) -> dict:
    combined = {key: [turn[key] for turn in turns] for key in turns[0]}
    return {**combined, "peak_bytes": max(combined["peak_bytes"])}


def ratio(ours: list[float], theirs: list[float]) -> dict:
    """Divide our throughput by theirs, given the seconds of a step in each round; see `spread`.

    Other load affects the turns of a round in a similar way, so ratios are taken within rounds.
    """
    return spread([b / a for a, b in zip(ours, theirs, strict=True)])


def spread(values: list[float]) -> dict:
    """Return "median", "low", "high" (the extremes) and "rounds" (all) of a figure's rounds."""
    median = statistics.median(values)
    return {"median": median, "low": min(values), "high": max(values), "rounds": values}


def latencies(calls: Sequence[float]) -> dict:
    """Return "p50" and "p99", the percentiles of the calls' seconds, and the number of "calls"."""
    p50, p99 = np.percentile(calls, [50, 99])
    return {"p50": float(p50), "p99": float(p99), "calls": len(calls)}
