"""Suite `preprocessing`: encoded images and file names to token ids.

Rivals: `pillow_hf`, Pillow and Hugging Face's tokenizer as one would write it; `pillow_hf_tuned`,
the fastest form of it known to us, without a target, since both sides then do little more than
decode; `map_fn`, the export without isolation, whose ratio is what isolation costs.
"""

from covid_lm.benchmark.cases import Case, Options, Target
from covid_lm.benchmark.raw_image_contenders import images_of_step
from covid_lm.benchmark.raw_images import raw_images
from covid_lm.benchmark.rounds import against_targets, installed, measure, ratio

OURS = "export"
RIVALS = ("pillow_hf", "pillow_hf_tuned", "map_fn")
TARGETS = (Target("pillow_hf", 3.0),)
# The tokens don't depend on the model behind them: the smallest export that there is.
BACKBONE, DTYPE = "1x64", "float32"


def run(options: Options) -> dict:
    """Measures every batch size.

    Returns:
        {"suite", "unit", "notes", "cases": [...]} as `report.table` takes it.

    Raises:
        InputError: no usable data set.
        RunError: a contender failed.
    """
    contenders, notes = installed((OURS, *RIVALS))
    results = []
    with raw_images(BACKBONE, DTYPE, options.data_dir) as (directory, images):
        for number, size in enumerate(options.batch_sizes):
            case = Case("preprocessing", BACKBONE, DTYPE, size, options.threads, material=directory)
            label = f"[{number + 1}/{len(options.batch_sizes)}] "
            measured = measure(case, contenders, options.rounds, label)
            results.append(throughput_result(case, f"batch {size}", measured, TARGETS))
    notes.append(images)
    return {"suite": "preprocessing", "unit": "images/s", "notes": notes, "cases": results}


def throughput_result(case: Case, title: str, measured: dict, targets: tuple[Target, ...]) -> dict:
    """One case of a suite on raw images, as `report.table` takes it.

    Args:
        case: what was measured.
        title: of its rows.
        measured: what `rounds.measure` returned; those of all contenders.
        targets: those of this case.
    """
    figures = compared(measured)
    return {
        "title": title,
        "backbone": case.backbone,
        "dtype": case.dtype,
        "batch_size": case.batch_size,
        "images": images_of_step(case),
        "contenders": measured,
        "figures": figures,
        "targets": against_targets(figures, targets),
    }


def compared(measured: dict) -> dict:
    """How many times as fast as each rival the export is, by rival."""
    ours = measured[OURS]["seconds"]
    return {rival: ratio(ours, measured[rival]["seconds"]) for rival in RIVALS if rival in measured}
