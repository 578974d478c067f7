"""Suite `all`: the README's speed figures in one run, in fewer rounds and cases than each suite's.

Takes 13 minutes on two cores, and is to stay under 15.
"""

import dataclasses
import importlib
import statistics
from typing import Any

from covid_lm.benchmark import SUITES
from covid_lm.benchmark.cases import SUITE_DEFAULTS, Options

_TRAINING = {"batch_sizes": (8,), "dtypes": ("bfloat16",), "rounds": 2}
SHORTER: tuple[tuple[str, dict[str, Any]], ...] = (  # suite, what it is told; in their order
    ("encoder", {"batch_sizes": (8,), "rounds": 3}),
    ("training", {**_TRAINING, "tasks": ("training",)}),
    ("training", {**_TRAINING, "tasks": ("pretraining",), "backbones": ("rbt3",)}),
    ("preprocessing", {"rounds": 3}),
    ("serving", {"batch_sizes": (1, 8), "rounds": 2}),
    ("scale", {"backbones": ("tiny", "rbt3"), "batch_sizes": (8,)}),
)


def run(options: Options) -> dict:
    """Runs the suites one after another.

    Args:
        options: of which threads and data_dir count.

    Returns:
        "suite", "notes", "suites" (the result of each) and "tables", Markdown.

    Raises:
        InputError: no usable data set.
        RunError: a contender failed.
    """
    results = []
    for suite, shorter in SHORTER:
        changes: dict[str, Any] = {**SUITE_DEFAULTS.get(suite, {}), **shorter}
        told = dataclasses.replace(options, **changes)
        results.append(importlib.import_module(SUITES[suite]).run(told))
    notes = list(dict.fromkeys(note for result in results for note in result["notes"]))
    tables = [comparison_table([result for result in results if "tables" not in result])]
    tables += [table for result in results for table in result.get("tables", ())]
    return {"suite": "all", "notes": notes, "suites": results, "tables": tables}


def comparison_table(results: list[dict]) -> str:
    """A row for every case and rival of the suites that have rivals, in Markdown."""
    lines = [
        "| suite | case | a second | peak GB | beside | times as fast [lowest, highest] | goal |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        for case in result["cases"]:
            lines += _rows(result["suite"], case)
    return "\n".join(lines)


def _rows(suite: str, case: dict) -> list[str]:
    ours = next(iter(case["contenders"]))
    if "latencies" in case:
        latency = case["latencies"][ours]
        shown = f"p50 {1e3 * latency['p50']:.0f} ms, p99 {1e3 * latency['p99']:.0f} ms"
    else:
        seconds = statistics.median(case["contenders"][ours]["seconds"])
        shown = f"{case.get('images', case['batch_size']) / seconds:.2f}"
    memory = f"{case['contenders'][ours]['peak_bytes'] / 1e9:.2f}"
    default = f"{case['backbone']} {case['dtype']} batch {case['batch_size']}"
    rows: list[str] = []
    for rival, figure in case["figures"].items():
        first = [case.get("task", suite), case.get("title", default), shown, memory]
        if rival == "ceiling":
            times = f"{figure['median']:.0%} of it [{figure['low']:.0%}, {figure['high']:.0%}]"
        else:
            times = f"{figure['median']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]"
        cells = [*(first if not rows else [""] * 4), rival, times, _goal(case, rival)]
        rows.append(f"| {' | '.join(cells)} |")
    return rows


def _goal(case: dict, rival: str) -> str:
    for target in case.get("targets", ()):
        if target["rival"] == rival:
            return f"{target['minimum']:g}, {'met' if target['met'] else 'missed'}"
    return ""
