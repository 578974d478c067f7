"""Suites: their cases measured one after another, and compared with their goals.

`encoder` goes from token ids to logits. `training` is a training step with a class as the target
or with masked tokens. `preprocessing` goes from encoded images and file names to token ids, and
`serving` from there to probabilities. `patches` compares layouts of patches with a ViT and with
single bytes. `growth` times our training step at several sizes.
"""

import dataclasses
import datetime
import itertools
import json
import os
import tempfile
from collections.abc import Callable

from covid_lm.benchmark import onnx_models, soak
from covid_lm.benchmark.cases import (
    CORE_CONTENDER,
    DTYPES,
    ONNX_CONTENDERS,
    PATCH_MODELS,
    RAW_IMAGE_TASKS,
    Case,
    Options,
    Planned,
    plan,
)
from covid_lm.benchmark.patch_image_contenders import CORE
from covid_lm.benchmark.raw_image_contenders import images_of_step
from covid_lm.benchmark.raw_images import write_raw_images
from covid_lm.benchmark.rounds import Progress, latencies, measure, ratio, runnable, spread
from covid_lm.benchmark.worker import PRODUCT_FLOPS
from covid_lm.environment import commit, machine, run_child
from covid_lm.errors import InputError

CORE_MODULE = "covid_lm.serving.core_export"  # not imported: it loads TensorFlow
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


def run(
    suite: str,
    options: Options,
    save: Callable[[dict], None] = lambda result: None,
    earlier: dict | None = None,
) -> dict:
    """Measure the cases of a suite, a key of `cases.SUITES`.

    Args:
        save: called with the result so far, before the first case and after each.
        earlier: result of an interrupted run, whose cases are not measured again.

    Returns:
        {"suite", "date", "commit", "machine", "notes", "cases": [...]}. A case has its suite, the
        fields of `Case`, "rounds", "per_step" (sequences or images of a step), "contenders"
        (what `rounds.measure` returns), "figures" (rival to our throughput over the rival's:
        "median", "low", "high"), "targets", and "latencies" (seconds) if there are callers.

    Raises:
        InputError: there is no usable data set, or the interrupted run was of another commit.
        RunError: a contender failed.
    """
    date = datetime.date.today().isoformat()
    header = {"suite": suite, "date": date, "commit": commit(), "machine": machine()}
    if suite == "soak":
        return {**header, **soak.run(options)}
    todo, notes = runnable(plan(suite, options))
    kept = [_measured_before(planned, earlier) for planned in todo]
    if earlier:
        if None in kept and earlier["commit"] != header["commit"]:
            commits = f"commit {earlier['commit']}, not {header['commit']}"
            raise InputError(f"--resume: the file is of {commits}; measure again without it")
        header = {key: earlier[key] for key in header}
        notes = list(dict.fromkeys([*earlier["notes"], *notes]))
    missing = [planned for planned, case in zip(todo, kept, strict=True) if case is None]
    progress = Progress(sum(len(planned.contenders) * planned.rounds for planned in missing))
    result = {**header, "notes": notes, "cases": list(filter(None, kept))}
    save(result)  # fails now, not after the first case, where the file can't be written
    with tempfile.TemporaryDirectory() as directory:
        for planned in missing:
            case = _with_material(planned, directory, options.data_dir, notes)
            measured = measure(case, planned.contenders, planned.rounds, progress)
            kept[todo.index(planned)] = case_result(planned, measured)
            result = {**result, "cases": list(filter(None, kept))}
            save(result)
    return result


def _with_material(
    planned: Planned, directory: str, data_dir: str | None, notes: list[str]
) -> Case:
    """Add the images and models that a case needs, written when first needed."""
    case = planned.case
    reads_images = case.task in RAW_IMAGE_TASKS
    reads_onnx = not set(ONNX_CONTENDERS).isdisjoint(planned.contenders)
    if not (reads_images or reads_onnx):
        return case
    kind = case.dtype if reads_images else f"{case.length}-tokens"
    material = os.path.join(directory, f"{case.layout or case.backbone}-{kind}")
    if reads_images and not os.path.exists(material):
        images = write_raw_images(material, case.backbone, case.dtype, data_dir, case.layout)
        notes.extend({images}.difference(notes))
    reads_core = CORE_CONTENDER in planned.contenders
    if reads_core and not os.path.exists(os.path.join(material, CORE)):
        run_dir = os.path.join(material, "run")
        title = "export of the core to ONNX"
        run_child(title, CORE_MODULE, run_dir, material, "onnx", keras_backend="torch")
    if reads_onnx and not os.path.exists(os.path.join(material, onnx_models.FILE)):
        request = json.dumps(dataclasses.asdict(case))
        run_child("export to ONNX", onnx_models.__name__, material, request)
    return dataclasses.replace(case, material=material)


def _settings(planned: Planned) -> dict:
    settings = dataclasses.asdict(planned.case)
    del settings["material"]
    return {"suite": planned.suite, **settings, "rounds": planned.rounds}


def _measured_before(planned: Planned, earlier: dict | None) -> dict | None:
    """Return the case of an earlier result that has the same settings and contenders."""
    for case in earlier["cases"] if earlier else ():
        same = _settings(planned).items() <= case.items()
        if same and tuple(case["contenders"]) == planned.contenders:
            return case
    return None


def case_result(planned: Planned, measured: dict) -> dict:
    """Compare the contenders of a case; the result is an element of "cases", see `run`.

    `measured` is what `rounds.measure` returned for it.
    """
    case = planned.case
    ours, *rivals = planned.contenders
    seconds = {name: turns["seconds"] for name, turns in measured.items()}
    figures = {rival: ratio(seconds[ours], seconds[rival]) for rival in rivals}
    per_step = case.batch_size
    if case.task in RAW_IMAGE_TASKS:
        per_step = 1 if case.callers else images_of_step(case)
    result = {**_settings(planned), "per_step": per_step, "contenders": measured}
    if case.task == "inference" and case.device == "cpu":
        result |= {"operations": case.operations, "ceiling": _ceiling(measured)}
        rounds = zip(seconds[ours], result["ceiling"]["rounds"], strict=True)
        figures["ceiling"] = spread([case.operations / step / ceiling for step, ceiling in rounds])
    if case.callers:
        result["latencies"] = {
            name: latencies(list(itertools.chain(*turns["calls"])))
            for name, turns in measured.items()
        }
    return {**result, "figures": figures, "targets": _targets(case, figures)}


def _ceiling(measured: dict) -> dict:
    """Operations a second of the fastest matrix product of each round."""
    key = "product_seconds"
    products = [turns[key] for turns in measured.values() if key in turns]
    return spread([PRODUCT_FLOPS / min(seconds) for seconds in zip(*products, strict=True)])


def _targets(case: Case, figures: dict[str, dict]) -> list[dict]:
    targets = []
    for rival, goal in GOALS.get(str(case), {}).items():
        if rival in figures:
            reached = figures[rival]["median"]
            met = reached >= goal
            targets.append({"rival": rival, "minimum": goal, "reached": reached, "met": met})
    return targets
