"""Suite `encoder`: a batch of sequences to logits, against the libraries and the ceiling."""

from covid_lm.backbones.configs import backbone_config, exact_flops
from covid_lm.benchmark.cases import Case, Options, Target, cases
from covid_lm.benchmark.contenders import PRODUCT_FLOPS
from covid_lm.benchmark.rounds import OURS, against_targets, installed, measure, ratio, spread

RIVALS = ("keras_hub", "hugging_face")
PRODUCTS = ("tensorflow_product", "torch_product")
TARGETS = {  # (backbone, dtype, batch size), on two cores
    ("rbt3", "float32", 8): (
        Target("hugging_face", 2.0),
        Target("keras_hub", 2.8),
        Target("ceiling", 0.8),
    ),
    ("rbt3", "bfloat16", 8): (Target("hugging_face", 1.6),),
    ("minilm-l6", "float32", 8): (Target("hugging_face", 1.5),),
    ("minilm-l6", "bfloat16", 8): (Target("hugging_face", 1.2),),
    ("rbt3", "float32", 1): (Target("hugging_face", 1.5),),
    ("rbt3", "bfloat16", 1): (Target("hugging_face", 1.5),),
}


def run(options: Options) -> dict:
    """Measures every case.

    Returns:
        {"suite", "notes", "cases": [...]} as `report.table` takes it.

    Raises:
        RunError: a contender failed.
    """
    contenders, notes = installed((OURS, *RIVALS, *PRODUCTS))
    todo = cases("inference", options)
    results = []
    for number, case in enumerate(todo):
        label = f"[{number + 1}/{len(todo)}] "
        results.append(_result(case, measure(case, contenders, options.rounds, label)))
    return {"suite": "encoder", "notes": notes, "cases": results}


def _result(case: Case, measured: dict) -> dict:
    ours = measured[OURS]["seconds"]
    figures = {
        rival: ratio(ours, measured[rival]["seconds"]) for rival in RIVALS if rival in measured
    }
    flops = exact_flops(backbone_config(case.backbone), case.length) * case.batch_size
    products = [measured[name]["seconds"] for name in PRODUCTS if name in measured]
    ceiling = [PRODUCT_FLOPS / min(seconds) for seconds in zip(*products, strict=True)]
    reached = [flops / seconds for seconds in ours]
    figures["ceiling"] = spread([a / b for a, b in zip(reached, ceiling, strict=True)])
    return {
        "backbone": case.backbone,
        "dtype": case.dtype,
        "batch_size": case.batch_size,
        "contenders": {name: measured[name] for name in (OURS, *RIVALS) if name in measured},
        "ceiling_flops_per_second": spread(ceiling),
        "exact_flops": flops,
        "figures": figures,
        "targets": against_targets(
            figures, TARGETS.get((case.backbone, case.dtype, case.batch_size), ())
        ),
    }
