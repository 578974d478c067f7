"""Suite `training`: forward, backward and AdamW on a batch, against the libraries."""

from covid_lm.benchmark.cases import Case, Options, Target, cases
from covid_lm.benchmark.rounds import OURS, against_targets, installed, measure, ratio

RIVALS = ("keras_hub", "hugging_face")
TARGETS = {  # (backbone, dtype, batch size), on two cores
    (backbone, dtype, 8): (Target("hugging_face", 2.2),)
    for backbone in ("rbt3", "minilm-l6")
    for dtype in ("float32", "bfloat16")
}


def run(options: Options) -> dict:
    """Measures every case; returns and raises as `encoder.run`."""
    contenders, notes = installed((OURS, *RIVALS))
    todo = cases("training", options)
    results = []
    for number, case in enumerate(todo):
        label = f"[{number + 1}/{len(todo)}] "
        results.append(_result(case, measure(case, contenders, options.rounds, label)))
    return {"suite": "training", "notes": notes, "cases": results}


def _result(case: Case, measured: dict) -> dict:
    ours = measured[OURS]["seconds"]
    figures = {
        rival: ratio(ours, measured[rival]["seconds"]) for rival in RIVALS if rival in measured
    }
    return {
        "backbone": case.backbone,
        "dtype": case.dtype,
        "batch_size": case.batch_size,
        "contenders": measured,
        "figures": figures,
        "targets": against_targets(
            figures, TARGETS.get((case.backbone, case.dtype, case.batch_size), ())
        ),
    }
