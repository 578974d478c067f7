"""Suite `scale`: speed and memory by size, how time grows, and what would fit an accelerator.

The first two are measured here, beside no rival; the third is computed. Both dtypes at batch 8,
and of the rest what keeps the suite short.
"""

import statistics

from covid_lm.backbones.configs import activation_bytes, backbone_config, state_bytes
from covid_lm.benchmark.accelerators import accelerator_table
from covid_lm.benchmark.cases import Case, Options, cases
from covid_lm.benchmark.contenders import CLASSES
from covid_lm.benchmark.growth import growth_series, growth_table
from covid_lm.benchmark.rounds import OURS, started, together

STARTED_AT_ONCE = 4  # processes; they are built side by side, and measured one after another
EVERY = 8  # the batch size that everything is measured at
QUICK = ("tiny",)  # backbones of which training is measured at other batch sizes, too


def run(options: Options) -> dict:
    """Measures every case.

    Args:
        options: the memory must hold four training steps of the largest backbone at a time.

    Returns:
        {"suite", "notes", "cases": [...], "tables": Markdown} as `report.table` takes it.

    Raises:
        RunError: a worker failed.
    """
    idle = Case("inference", "1x64", "float32", 1, options.threads, length=16)
    sizes = [case for task in ("inference", "training") for case in cases(task, options)]
    sizes = [case for case in sizes if _is_measured(case)]
    series = growth_series(options.threads)
    growing = {case: None for axis in series.values() for case in axis.values()}
    todo = [idle, *sizes, *growing]
    found = {}
    for place in range(0, len(todo), STARTED_AT_ONCE):
        some = todo[place : place + STARTED_AT_ONCE]
        with started([(OURS, case) for case in some]) as workers:
            for number, (case, worker) in enumerate(zip(some, workers, strict=True), place + 1):
                found[case] = together([worker.turn() for _ in range(options.rounds)])
                took = statistics.median(found[case]["seconds"])
                print(f"[{number}/{len(todo)}] {case}: {took:.3f} s", flush=True)
    seconds = {case: statistics.median(result["seconds"]) for case, result in found.items()}
    results = [_result(case, found[case], found[idle]["peak_bytes"]) for case in sizes]
    return {
        "suite": "scale",
        "notes": [],
        "cases": results,
        "growth_seconds": {str(case): seconds[case] for case in growing},
        "tables": [
            _size_table(results),
            growth_table(seconds, options.threads),
            accelerator_table(),
        ],
    }


def _is_measured(case: Case) -> bool:
    if case.batch_size == EVERY:
        return True
    return case.dtype == "float32" and (case.task == "inference" or case.backbone in QUICK)


def formula_bytes(case: Case) -> int:
    """Memory of a training step by `backbones.costs`."""
    config = backbone_config(case.backbone)
    activations = activation_bytes(config, case.length, case.dtype)
    return state_bytes(config, CLASSES) + case.batch_size * activations


def _result(case: Case, measured: dict, idle_bytes: int) -> dict:
    return {
        "task": case.task,
        "backbone": case.backbone,
        "dtype": case.dtype,
        "batch_size": case.batch_size,
        "contenders": {OURS: measured},
        "sequences_per_second": case.batch_size / statistics.median(measured["seconds"]),
        "bytes_above_idle": measured["peak_bytes"] - idle_bytes,
        "formula_bytes": formula_bytes(case) if case.task == "training" else None,
    }


def _size_table(results: list[dict]) -> str:
    lines = [
        "| measured, 512 tokens | model | arithmetic | batch | sequences/s | GB above an idle "
        "process | GB by the formula |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results:
        formula = result["formula_bytes"]
        by_formula = "" if formula is None else f"{formula / 1e9:.2f}"
        lines.append(
            f"| {result['task']} | {result['backbone']} | {result['dtype']} | "
            f"{result['batch_size']} | {result['sequences_per_second']:.2f} | "
            f"{result['bytes_above_idle'] / 1e9:.2f} | {by_formula} |"
        )
    return "\n".join(lines)
