"""Suite `serving`: encoded images and file names to probabilities, and latency under load.

The rivals of suite `preprocessing`, with the same weights in transformers' `BertModel` behind
them. Latency is that of single images, asked for by four callers, each of which asks again as
soon as it has its answer.
"""

import dataclasses
import itertools
import statistics

from covid_lm.benchmark.cases import Case, Options, Target
from covid_lm.benchmark.preprocessing import OURS, RIVALS, compared, throughput_result
from covid_lm.benchmark.raw_images import raw_images
from covid_lm.benchmark.rounds import installed, measure

TARGETS = {("rbt3", "float32"): (Target("pillow_hf", 2.0),)}
CALLERS = 4
CALLS = 40  # in each round; percentiles are those of all rounds' calls


def run(options: Options) -> dict:
    """Measures every backbone and dtype; returns and raises as `preprocessing.run`."""
    contenders, notes = installed((OURS, *RIVALS))
    results = []
    for backbone, dtype in itertools.product(options.backbones, options.dtypes):
        with raw_images(backbone, dtype, options.data_dir) as (directory, images):
            case = Case("serving", backbone, dtype, 1, options.threads, material=directory)
            for size in options.batch_sizes:
                results.append(_throughput(case, size, contenders, options.rounds))
            results.append(_latency(case, contenders, options.rounds))
    return {"suite": "serving", "unit": "images/s", "notes": [*notes, images], "cases": results}


def _throughput(case: Case, batch_size: int, contenders: tuple[str, ...], rounds: int) -> dict:
    case = dataclasses.replace(case, batch_size=batch_size)
    title = f"{case.backbone} {case.dtype} batch {batch_size}"
    measured = measure(case, contenders, rounds)
    return throughput_result(case, title, measured, TARGETS.get((case.backbone, case.dtype), ()))


def _latency(case: Case, contenders: tuple[str, ...], rounds: int) -> dict:
    case = dataclasses.replace(case, callers=CALLERS, calls=CALLS)
    measured = measure(case, contenders, rounds)
    return {
        "title": f"{case.backbone} {case.dtype} {CALLERS} callers",
        "backbone": case.backbone,
        "dtype": case.dtype,
        "batch_size": 1,
        "callers": CALLERS,
        "latencies": {name: _latencies(result["calls"]) for name, result in measured.items()},
        "contenders": measured,
        "figures": compared(measured),
    }


def _latencies(rounds: list[list[float]]) -> dict:
    calls = list(itertools.chain(*rounds))
    percentiles = statistics.quantiles(calls, n=100)
    return {"p50": percentiles[49], "p99": percentiles[98], "calls": len(calls)}
