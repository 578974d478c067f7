"""Turns: all contenders of a case run in one session, one after another, round after round."""

import contextlib
import importlib.util
import statistics
from collections.abc import Iterator, Sequence

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
    with started([(name, case) for name in contenders]) as workers:
        turns: dict[str, list[dict]] = {name: [] for name in contenders}
        for number in range(rounds):
            first = number % len(workers)
            for worker in workers[first:] + workers[:first]:
                turns[worker.contender].append(worker.turn())
            times = ", ".join(f"{name} {turns[name][-1]['seconds']:.3f} s" for name in contenders)
            print(f"{label}{case}, round {number + 1}/{rounds}: {times}", flush=True)
    return {name: together(turns[name]) for name in contenders}


def together(turns: Sequence[dict]) -> dict:
    """A worker's turns in one: "seconds" and "calls" of each, and "peak_bytes" after the last."""
    return {
        "seconds": [turn["seconds"] for turn in turns],
        "calls": [turn["calls"] for turn in turns],
        "peak_bytes": turns[-1]["peak_bytes"],
    }


@contextlib.contextmanager
def started(todo: Sequence[tuple[str, Case]]) -> Iterator[list[Worker]]:
    """Worker processes for contenders and cases: built side by side, warmed up one by one.

    Raises:
        RunError: one of them failed.
    """
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Worker(name, case)) for name, case in todo]
        for worker in workers:
            worker.built()
        for worker in workers:
            worker.warm_up()
        yield workers


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
