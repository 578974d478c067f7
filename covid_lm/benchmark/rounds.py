"""Turns: all contenders of a case run in one session, one after another, round after round."""

import contextlib
import importlib.util
import statistics
from typing import Any

from covid_lm.benchmark.cases import Case, Target
from covid_lm.benchmark.worker import NEEDS, Worker

OURS = "covid_lm"


def installed(contenders: tuple[str, ...]) -> tuple[tuple[str, ...], list[str]]:
    """The contenders that can run here, and one line for each that can't."""
    missing = {
        contender: package
        for contender in contenders
        for package in NEEDS.get(contender, ())
        if importlib.util.find_spec(package) is None
    }
    notes = [f"{name} left out: {missing[name]} is not installed" for name in missing]
    return tuple(name for name in contenders if name not in missing), notes


def measure(case: Case, contenders: tuple[str, ...], rounds: int, label: str = "") -> dict:
    """Runs a case's rounds, and prints a line after each.

    Whatever else the machine does at the time hits neighbours in a round alike, so what counts
    are the ratios within rounds. Each round starts with another contender.

    Args:
        case: what to measure.
        contenders: keys of `worker.BUILDERS`.
        rounds: how many.
        label: printed before the round's number.

    Returns:
        contender -> {"seconds": seconds of a step in each round, "calls": seconds of every step
        by round, "peak_bytes": ...}.

    Raises:
        RunError: a contender failed.
    """
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Worker(name, case)) for name in contenders]
        results: dict[str, dict[str, Any]] = {
            name: {"seconds": [], "calls": [], "peak_bytes": 0} for name in contenders
        }
        for number in range(rounds):
            first = number % len(workers)
            for worker in workers[first:] + workers[:first]:
                turn = worker.turn()
                result = results[worker.contender]
                result["seconds"].append(turn["seconds"])
                result["calls"].append(turn["calls"])
                result["peak_bytes"] = turn["peak_bytes"]
            times = ", ".join(f"{name} {results[name]['seconds'][-1]:.3f} s" for name in contenders)
            print(f"{label}{case}, round {number + 1}/{rounds}: {times}", flush=True)
    return results


def ratio(ours: list[float], theirs: list[float]) -> dict:
    """How many times as fast as theirs ours is.

    Args:
        ours, theirs: seconds of a step in each round, in the same order.

    Returns:
        "median", "low" and "high" (the extremes) over the rounds, and "rounds", all of them.
    """
    return spread([b / a for a, b in zip(ours, theirs, strict=True)])


def spread(values: list[float]) -> dict:
    """Median and extremes of one figure's rounds."""
    return {
        "median": statistics.median(values),
        "low": min(values),
        "high": max(values),
        "rounds": values,
    }


def against_targets(figures: dict[str, dict], targets: tuple[Target, ...]) -> list[dict]:
    """Each target whose rival was measured: what was asked, what was reached, and whether met."""
    return [
        {
            "rival": target.rival,
            "minimum": target.minimum,
            "reached": figures[target.rival]["median"],
            "met": figures[target.rival]["median"] >= target.minimum,
        }
        for target in targets
        if target.rival in figures
    ]
