"""Tables of a benchmark's result."""

import itertools
import statistics
from collections.abc import Mapping

import numpy as np
import pandas as pd

from covid_lm.benchmark.cases import callers_or_batch, growth_series
from covid_lm.environment import machine_line
from covid_lm.evaluation.summary import markdown_table

QUIET_LOAD = 0.5


def report(result: dict) -> str:
    """Format what `suites.run` returned, in Markdown: tables, then their source and notes."""
    formats = {"soak": soak_table, "growth": growth_table}
    groups = itertools.groupby(
        result["cases"], lambda case: formats.get(case["suite"], comparison_table)
    )
    tables = [table(list(cases)) for table, cases in groups]
    return "\n\n".join([*tables, " ".join([_source(result), *result["notes"]])])


# Task, dtype and rival of a figure of rbt3, with its words in `summary`.
_SUMMARY = {
    ("inference", "float32", "hugging_face"): "inference in float32",
    ("inference", "bfloat16", "hugging_face"): "inference in bfloat16",
    ("training", "bfloat16", "hugging_face"): "a training step in bfloat16",
    ("pretraining", "bfloat16", "hf_mlm_tuned"): "a pre-training step in bfloat16 against a "
    "tuned one",
    ("inference", "float32", "openvino"): "inference in float32 against OpenVINO",
    ("inference", "bfloat16", "openvino"): "in bfloat16",
}


def summary(result: dict) -> str:
    """Write the ratios of rbt3 with batches of 8 as one sentence, for `suites.run`'s result."""
    ratios = {
        (case["task"], case["dtype"], rival): figure["median"]
        for case in result["cases"]
        if (case["backbone"], case["batch_size"]) == ("rbt3", 8)
        for rival, figure in case["figures"].items()
    }
    found = [f"{text} {ratios[key]:.2f}" for key, text in _SUMMARY.items() if key in ratios]
    machine = machine_line(result["machine"])
    return (
        f"Speed of rbt3 with batches of 8 on {machine} ({result['date']}), as a multiple of that "
        f"of Hugging Face transformers or of the library that is named: {'; '.join(found)}."
    )


def _source(result: dict) -> str:
    machine = result["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    load = machine["load_average"]
    commit, *changed = result["commit"].split("-")
    text = (
        f"Measured on {result['date']} at commit {'-'.join([commit[:10], *changed])} on "
        f"{machine_line(machine)}, load average {load:.1f} at the start, with {packages}."
    )
    if load > QUIET_LOAD:
        text += (
            " The machine was not idle, which slows contenders unequally (PyTorch's threads most):"
            " repeat before quoting a figure."
        )
    return text


def comparison_table(cases: list[dict]) -> str:
    """A row for each contender of each case, and for the ceiling where there is one."""
    return markdown_table(pd.DataFrame([row for case in cases for row in _rows(case)]))


def _rows(case: dict) -> list[dict]:
    goals = {
        target["rival"]: f"{target['minimum']:g}, {'met' if target['met'] else 'missed'}"
        for target in case["targets"]
    }
    size = callers_or_batch(case["callers"], case["batch_size"])
    size += " on gpu" if case.get("device") == "gpu" else ""
    model = f"{case.get('layout', '')} {case['backbone']} {case['dtype']}".strip()
    named = {"task": case["task"], "model": model, "size": size}
    rows = []
    for name in (*case["contenders"], *(["ceiling"] if "ceiling" in case else [])):
        figure, measured = case["figures"].get(name), case["contenders"].get(name)
        row = {
            "contender": name,
            "a second": _speed(case, name),
            "peak GB": f"{measured['peak_bytes'] / 1e9:.2f}" if measured else "",
            "covid_lm is": _times(figure, name) if figure else "",
            "goal": goals.get(name, ""),
        }
        rows.append({**named, **row})
        named = dict.fromkeys(named, "")  # only the first row names the case
    return rows


def _speed(case: dict, contender: str) -> str:
    if contender == "ceiling":
        return f"{case['ceiling']['median'] / 1e9:.0f} GFLOP"
    if "latencies" in case:
        latency = case["latencies"][contender]
        return f"p50 {1e3 * latency['p50']:.0f} ms, p99 {1e3 * latency['p99']:.0f} ms"
    seconds = statistics.median(case["contenders"][contender]["seconds"])
    return f"{case['per_step'] / seconds:.2f}"


def _times(figure: dict, rival: str) -> str:
    median, low, high = (figure[key] for key in ("median", "low", "high"))
    if rival == "ceiling":
        return f"at {median:.0%} of it [{low:.0%}, {high:.0%}]"
    return f"{median:.2f} times as fast [{low:.2f}, {high:.2f}]"


def growth_table(cases: list[dict]) -> str:
    """Seconds and peak memory along each axis of `growth_series`, with their exponents."""
    keys = ("task", "backbone", "batch_size", "length", "callers")
    found = {tuple(case[key] for key in keys): _only(case["contenders"]) for case in cases}
    rows = []
    for axis, series in growth_series(threads=1).items():
        turns = {n: found[tuple(getattr(c, key) for key in keys)] for n, c in series.items()}
        seconds = {n: statistics.median(turn["seconds"]) for n, turn in turns.items()}
        gigabytes = {n: turn["peak_bytes"] / 1e9 for n, turn in turns.items()}
        operations = {size: case.operations for size, case in series.items()}
        row = [f"{axis}: {', '.join(map(str, series))}"]
        for values, digits in ((seconds, 3), (gigabytes, 2)):
            row.append(", ".join(f"{value:.{digits}f}" for value in values.values()))
            row.append(f"{exponent(values):.2f}")
        rows.append((*row, f"{exponent(operations):.2f}"))
    columns = [
        "what grows",
        "seconds",
        "exponent",
        "peak GB",
        "exponent of it",
        "exponent of the operations",
    ]
    return markdown_table(pd.DataFrame(rows, columns=columns))


def _only(contenders: dict[str, dict]) -> dict:
    (turns,) = contenders.values()
    return turns


def exponent(values: Mapping[int, float]) -> float:
    """Fit p in value = c * size**p by least squares of the logarithms."""
    slope, _ = np.polyfit(np.log(list(values)), np.log(list(values.values())), 1)
    return float(slope)


def soak_table(cases: list[dict]) -> str:
    """A row for each export of suite `soak`."""
    rows = [
        {
            "model": case["backbone"],
            "seconds": f"{case['seconds']:.0f}",
            "calls": case["calls"],
            "with a bad image": case["bad_calls"],
            "errors": case["errors"],
            "wrong answers": case["wrong"],
            "p50 ms": f"{1e3 * case['p50']:.1f}",
            "p99 ms": f"{1e3 * case['p99']:.1f}",
            "memory MB": f"{case['bytes'][-1] / 1e6:.0f}",
            "growth MB": "-" if case["growth"] is None else f"{case['growth'] / 1e6:+.1f}",
        }
        for case in cases
    ]
    return markdown_table(pd.DataFrame(rows))
