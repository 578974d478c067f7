"""Suite `training`: forward, backward and AdamW on a batch, against the libraries.

First with a class as the target, as in `tools/train.py`, then with masked tokens, as in
`tools/pretrain.py`, against transformers' `BertForMaskedLM`; `hf_mlm_tuned` is that model with its
head at the masked positions only, and has no target.
"""

from covid_lm.benchmark.cases import Case, Options, Target, cases
from covid_lm.benchmark.rounds import OURS, against_targets, installed, measure, ratio

CONTENDERS = {  # task: ours, then the rivals
    "training": (OURS, "keras_hub", "hugging_face"),
    "pretraining": ("covid_lm_mlm", "hugging_face_mlm", "hf_mlm_tuned"),
}
GOALS = {"training": Target("hugging_face", 2.2), "pretraining": Target("hugging_face_mlm", 1.8)}
TARGETS = {  # (task, backbone, dtype, batch size), on two cores
    (task, backbone, dtype, 8): (target,)
    for task, target in GOALS.items()
    for backbone in ("rbt3", "minilm-l6")
    for dtype in ("float32", "bfloat16")
}


def run(options: Options) -> dict:
    """Measures every case; returns and raises as `encoder.run`."""
    todo = [case for task in options.tasks for case in cases(task, options)]
    notes, results = [], []
    for number, case in enumerate(todo):
        contenders, missing = installed(CONTENDERS[case.task])
        notes += [note for note in missing if note not in notes]
        label = f"[{number + 1}/{len(todo)}] "
        results.append(_result(case, measure(case, contenders, options.rounds, label)))
    return {"suite": "training", "notes": notes, "cases": results}


def _result(case: Case, measured: dict) -> dict:
    ours, *rivals = CONTENDERS[case.task]
    figures = {
        rival: ratio(measured[ours]["seconds"], measured[rival]["seconds"])
        for rival in rivals
        if rival in measured
    }
    key = (case.task, case.backbone, case.dtype, case.batch_size)
    return {
        "task": case.task,
        "backbone": case.backbone,
        "dtype": case.dtype,
        "batch_size": case.batch_size,
        "contenders": measured,
        "figures": figures,
        "targets": against_targets(figures, TARGETS.get(key, ())),
    }
