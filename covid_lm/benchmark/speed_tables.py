"""A suite's result as a table."""

import statistics

QUIET_LOAD = 0.5


def table(result: dict) -> str:
    """The cases of a suite as text.

    Args:
        result: {"machine", "suite", "notes", "cases": [{"backbone", "dtype", "batch_size",
            "contenders", "figures", "targets"}, ...]}. Suites on raw images also give "unit" and
            each case's "title" and "images", those of a step; a case of concurrent callers has
            "latencies". A suite with "tables" of its own, Markdown, is shown by these.
    """
    lines = ["\n\n".join(result["tables"])] if "tables" in result else _compared(result)
    load = result["machine"]["load_average"]
    if load > QUIET_LOAD:
        lines.append(
            f"not a quiet machine: load average {load:.1f} at the start. Contenders suffer "
            "unequally from that (PyTorch's threads most), so repeat before quoting a figure."
        )
    return "\n".join(lines + result["notes"])


def _compared(result: dict) -> list[str]:
    lines = [
        f"{result['suite']}: medians over the rounds; in brackets lowest and highest ratio",
        f"{'':39}{result.get('unit', 'sequences/s'):>12}{'peak GB':>9}   covid_lm is",
    ]
    for case in result["cases"]:
        if "latencies" in case:
            lines += _latencies(case)
            continue
        title = case.get("title", f"{case['backbone']} {case['dtype']} batch {case['batch_size']}")
        for name, measured in case["contenders"].items():
            rate = case.get("images", case["batch_size"]) / statistics.median(measured["seconds"])
            figure = case["figures"].get(name)
            compared = f"{_times(figure)} as fast" if figure else ""
            memory = measured["peak_bytes"] / 1e9
            lines.append(f"{title:<28}{name:<16}{rate:>7.2f}{memory:>9.2f}   {compared}".rstrip())
            title = ""
        if "ceiling" in case["figures"]:
            lines.append(_ceiling(case))
        lines += [_target(target) for target in case["targets"]]
    return lines


def _ceiling(case: dict) -> str:
    share = case["figures"]["ceiling"]
    ceiling = case["ceiling_flops_per_second"]["median"] / 1e9
    return (
        f"{'':28}ceiling {ceiling:.0f} GFLOP/s: covid_lm at {share['median']:.0%} of it "
        f"[{share['low']:.0%}, {share['high']:.0%}]"
    )


def _latencies(case: dict) -> list[str]:
    lines = []
    title = case["title"]
    for name, latency in case["latencies"].items():
        figure = case["figures"].get(name)
        compared = f"{_times(figure)} as fast at p50" if figure else ""
        lines.append(
            f"{title:<28}{name:<16} p50 {1000 * latency['p50']:.0f} ms, p99 "
            f"{1000 * latency['p99']:.0f} ms of {latency['calls']} calls   {compared}".rstrip()
        )
        title = ""
    return lines


def _target(target: dict) -> str:
    word = "met" if target["met"] else "MISSED"
    return (
        f"{'':28}target {target['minimum']:g} against {target['rival']}: "
        f"{target['reached']:.2f}, {word}"
    )


def _times(figure: dict) -> str:
    return f"{figure['median']:.2f} times [{figure['low']:.2f}, {figure['high']:.2f}]"
