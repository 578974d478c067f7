"""Goals that were set for the cases of a benchmark."""

import itertools

from covid_lm.benchmark.cases import CORE_CONTENDER, DTYPES, PATCH_MODELS

# Goals on two cores: case -> rival -> ratio of throughputs that was to be reached. The goal of
# "ceiling" is a share of the fastest matrix product of the same round.
GOALS: dict[str, dict[str, float]] = {
    "inference rbt3 float32 batch 8": {
        **{"hugging_face": 1.95, "keras_hub": 2.8, "openvino": 1.7, "ceiling": 0.8},
    },
    "inference rbt3 bfloat16 batch 8": {"hugging_face": 1.88, "openvino": 1.55},
    "inference minilm-l6 float32 batch 8": {"hugging_face": 1.5, "openvino": 1.4},
    "inference minilm-l6 bfloat16 batch 8": {"hugging_face": 1.2, "openvino": 1.2},
    "inference rbt3 float32 batch 1": {"hugging_face": 1.5, "openvino": 1.5, "no_look_up": 1.08},
    "inference rbt3 bfloat16 batch 1": {"hugging_face": 1.5, "openvino": 1.3, "unfixed": 1.08},
}
for _model, _dtype in itertools.product(("rbt3", "minilm-l6"), DTYPES):
    _rival = "no_look_up" if _dtype == "float32" else "unfixed"
    GOALS[f"inference {_model} {_dtype} batch 8"][_rival] = 1.08 if _model == "rbt3" else 1.02
    GOALS[f"training {_model} {_dtype} batch 8"] = {"hugging_face": 2.2}
    GOALS[f"pretraining {_model} {_dtype} batch 8"] = {"hugging_face_mlm": 1.8}
for _layout, _backbone in PATCH_MODELS.items():
    for _task, _goal in (("inference", 1.3), ("training", 1.5)):
        _goals = {"hugging_face_vit": _goal}
        if _layout == "patches32x4rgb":
            _goals["gray22"] = 5.0
        for _dtype in DTYPES:
            GOALS[f"{_task} {_layout} {_backbone} {_dtype} batch 32"] = _goals
for _size in (1, 8, 32):
    GOALS[f"preprocessing 1x64 float32 batch {_size}"] = {"pillow_hf": 3.0}
    GOALS[f"serving rbt3 float32 batch {_size}"] = {"pillow_hf": 2.0}
    for _layout, _backbone in PATCH_MODELS.items():
        _goals = {"pillow_vit": 1.5, CORE_CONTENDER: 1.0}
        GOALS[f"serving {_layout} {_backbone} float32 batch {_size}"] = _goals
