"""Suites: their cases measured one after another, and compared with their goals.

`encoder` goes from token ids to logits. `training` is a training step with a class as the target
or with masked tokens. `preprocessing` goes from encoded images and file names to token ids, and
`serving` from there to probabilities. `growth` times our training step at several sizes.
"""

import contextlib
import dataclasses
import datetime
import functools
import itertools
import statistics
from collections.abc import Callable, Iterator

from covid_lm.backbones.configs import backbone_config, exact_flops
from covid_lm.benchmark import soak
from covid_lm.benchmark.cases import GOALS, RAW_IMAGE_TASKS, Case, Options, Planned, plan
from covid_lm.benchmark.contenders import PRODUCT_FLOPS
from covid_lm.benchmark.raw_image_contenders import images_of_step
from covid_lm.benchmark.raw_images import raw_images
from covid_lm.benchmark.rounds import Progress, installed, measure, ratio, spread
from covid_lm.environment import commit, machine
from covid_lm.errors import InputError


def run(
    suite: str,
    options: Options,
    save: Callable[[dict], None] = lambda result: None,
    earlier: dict | None = None,
) -> dict:
    """Measure the cases of a suite.

    Args:
        suite: a key of `cases.SUITES`.
        options: its options.
        save: called with the result so far after each case.
        earlier: result of an interrupted run, whose cases are not measured again.

    Returns:
        {"suite", "date", "commit", "machine", "notes", "cases": [...]}. A case has its suite, the
        fields of `Case`, "rounds", "per_step" (sequences or images of a step), "contenders"
        (what `rounds.measure` returns), "figures" (rival to our throughput over the rival's:
        "median", "low", "high"), "targets", and "latencies" (seconds) if there are several callers.

    Raises:
        InputError: there is no usable data set, or the interrupted run was of another commit.
        RunError: a contender failed.
    """
    header = {
        "suite": suite,
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "machine": machine(),
    }
    if suite == "soak":
        return {**header, **soak.run(options)}
    todo, notes = _runnable(plan(suite, options))
    kept = {_identity(case): case for case in (earlier or {}).get("cases", ())}
    missing = [planned for planned in todo if _identity(_settings(planned)) not in kept]
    if earlier:
        if missing and earlier["commit"] != header["commit"]:
            of = earlier["commit"]
            raise InputError(
                f"--resume: the file is of commit {of}, not of this one; omit --resume"
            )
        header = {key: earlier[key] for key in header}
    progress = Progress(sum(len(planned.contenders) * planned.rounds for planned in missing))
    cases: list[dict] = []
    with _materials(options.data_dir, notes) as material:
        for planned in todo:
            if planned in missing:
                case = material(planned.case)
                measured = measure(case, planned.contenders, planned.rounds, progress)
                cases.append(case_result(planned, measured))
            else:
                cases.append(kept[_identity(_settings(planned))])
            result = {**header, "notes": notes, "cases": cases}
            save(result)
    return result


@contextlib.contextmanager
def _materials(data_dir: str | None, notes: list[str]) -> Iterator[Callable[[Case], Case]]:
    """Yield a function that gives a case its images and models, written when first needed."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def write(backbone: str, dtype: str) -> str:
            directory, images = stack.enter_context(raw_images(backbone, dtype, data_dir))
            notes.extend({images}.difference(notes))
            return directory

        def with_material(case: Case) -> Case:
            if case.task not in RAW_IMAGE_TASKS:
                return case
            return dataclasses.replace(case, material=write(case.backbone, case.dtype))

        yield with_material


def _runnable(todo: list[Planned]) -> tuple[list[Planned], list[str]]:
    """Leave out the contenders that are not installed, with a note on each."""
    found, notes = [], []
    for planned in todo:
        contenders, missing = installed(planned.contenders)
        found.append(dataclasses.replace(planned, contenders=contenders))
        notes += [note for note in missing if note not in notes]
    return found, notes


def _settings(planned: Planned) -> dict:
    settings = dataclasses.asdict(planned.case)
    del settings["material"]
    contenders = dict.fromkeys(planned.contenders)
    return {"suite": planned.suite, **settings, "rounds": planned.rounds, "contenders": contenders}


def _identity(case: dict) -> str:
    """A key that equal measurements share: the settings, and the names of the contenders."""
    fields = [field.name for field in dataclasses.fields(Case) if field.name != "material"]
    values = [case.get(name) for name in ("suite", *fields, "rounds")]
    return repr((values, list(case["contenders"])))


def case_result(planned: Planned, measured: dict) -> dict:
    """Compare the contenders of a case.

    Args:
        planned: the case.
        measured: what `rounds.measure` returned for it.

    Returns:
        An element of "cases" as `run` describes it.
    """
    case = planned.case
    ours, *rivals = planned.contenders
    figures = {
        rival: ratio(measured[ours]["seconds"], measured[rival]["seconds"]) for rival in rivals
    }
    per_step = case.batch_size
    if case.task in RAW_IMAGE_TASKS:
        per_step = 1 if case.callers > 1 else images_of_step(case)
    result = {**_settings(planned), "per_step": per_step, "contenders": measured}
    if case.task == "inference":
        result |= {"exact_flops": _step_flops(case), "ceiling": _ceiling(measured)}
        flops = [result["exact_flops"] / seconds for seconds in measured[ours]["seconds"]]
        shares = zip(flops, result["ceiling"]["rounds"], strict=True)
        figures["ceiling"] = spread([reached / ceiling for reached, ceiling in shares])
    if case.callers > 1:
        result["latencies"] = {name: _latencies(turns["calls"]) for name, turns in measured.items()}
    return {**result, "figures": figures, "targets": _targets(case, figures)}


def _step_flops(case: Case) -> int:
    return case.batch_size * exact_flops(backbone_config(case.backbone), case.length)


def _ceiling(measured: dict) -> dict:
    """Operations a second of the fastest matrix product of each round."""
    products = [
        turns["product_seconds"] for turns in measured.values() if "product_seconds" in turns
    ]
    return spread([PRODUCT_FLOPS / min(seconds) for seconds in zip(*products, strict=True)])


def _latencies(rounds: list[list[float]]) -> dict:
    calls = list(itertools.chain(*rounds))
    percentiles = statistics.quantiles(calls, n=100)
    return {"p50": percentiles[49], "p99": percentiles[98], "calls": len(calls)}


def _targets(case: Case, figures: dict[str, dict]) -> list[dict]:
    return [
        {
            "rival": rival,
            "minimum": minimum,
            "reached": figures[rival]["median"],
            "met": figures[rival]["median"] >= minimum,
        }
        for rival, minimum in GOALS.get(str(case), {}).items()
        if rival in figures
    ]
