"""Pre-training on images without labels, with one of three objectives."""

import dataclasses
import os
import time

import keras

from covid_lm.data import load_dataset
from covid_lm.data.splits import describe_splits
from covid_lm.data.unlabelled import held_out_digests, unlabelled_records
from covid_lm.environment import machine, machine_line, origin
from covid_lm.errors import InputError
from covid_lm.files import write_json, write_json_lines
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.objectives.bytes import ByteObjective
from covid_lm.objectives.objective import Objective
from covid_lm.objectives.teacher import TeacherObjective
from covid_lm.objectives.words import WordObjective
from covid_lm.pipeline.decoded import DecodedRecords, check_valid, decode_valid
from covid_lm.pipeline.pixel_cache import PixelCache, run_cache
from covid_lm.training.checkpoints import Progress, resume
from covid_lm.training.devices import choose_strategy
from covid_lm.training.inputs import check_reachable, print_skipped
from covid_lm.training.loop import run_epochs
from covid_lm.training.optimizer import build_optimizer, scheduled_learning_rate, with_xla
from covid_lm.training.pretraining_options import PretrainingOptions
from covid_lm.training.run_directory import resumed_config, run_config, staged_run
from covid_lm.training.termination import Termination

OBJECTIVES: dict[str, type[Objective]] = {
    "words": WordObjective,
    "bytes": ByteObjective,
    "teacher": TeacherObjective,
}


@dataclasses.dataclass(frozen=True)
class PretrainingResult:
    """A finished run: the directory for `--weights`, and the content of `metrics.json`."""

    weights_dir: str
    metrics: dict
    seconds: float


def pretrain(options: PretrainingOptions) -> PretrainingResult:
    """Pre-trains, and writes the weights after the last epoch.

    Resumes an unfinished run of the same name. Validation images are only measured on; test images
    are not used.

    Raises:
        InputError: unusable options or data, or an unfinished run with other ones.
        RunError: no such device, the loss became non-finite, or a file can't be written.
        Terminated: SIGTERM arrived, and the state was saved.
    """
    started = time.monotonic()
    options = options.with_pinned_weights()
    strategy = choose_strategy(options)
    weights_dir = os.path.join(options.model_dir, "weights")
    with (
        Termination() as termination,
        staged_run(options.model_dir, "pretraining") as staged,
        run_cache(options.cache_dir, options.model_dir) as cache,
        strategy.scope(),
    ):
        keras.utils.set_random_seed(options.seed)
        objective = OBJECTIVES[options.objective](options, cache)
        images = decode_images(options, objective.preprocessor, cache)
        run = run_config(options, strategy, images["train"])
        run["validation_images"] = images["val"].summary if "val" in images else None
        run = resumed_config(staged, run, options, "pretraining")
        write_json(os.path.join(staged, "config.json"), {"pretraining": run})
        objective.prepare(images)
        _print_plan(options, objective, run)
        # Keras has the weights at hand within an epoch only on TensorFlow.
        interruptible = termination if options.backend == "tensorflow" else None
        history = fit(objective, run["batch_size"], options, staged, interruptible)
        objective.save(weights_dir)
        metrics = {
            "objective": options.objective,
            "datasets": list(options.datasets),
            "images": {split: len(decoded.records) for split, decoded in images.items()},
            **objective.summary(),
            "epochs": history,
            **origin(options.command),
            "machine": machine_line(machine()),
        }
        write_json(os.path.join(staged, "metrics.json"), metrics)
    return PretrainingResult(weights_dir, metrics, time.monotonic() - started)


def decode_images(
    options: PretrainingOptions, preprocessor: Preprocessor, cache: PixelCache | None = None
) -> dict[str, DecodedRecords]:
    """All data sets' training images ("train") and, if any, validation images ("val").

    Raises:
        InputError: no training images, or one that can't be decoded.
    """
    datasets = [load_dataset(*source, options.reading) for source in options.sources]
    print("\n".join(map(describe_splits, datasets)))
    held_out = held_out_digests(datasets)
    images = {}
    for split in ("train", "val"):
        records = unlabelled_records(datasets, split, options.max_images)
        if not records:
            continue
        images[split] = decode_valid(records, preprocessor.image_input, cache, held_out)
        for record in images[split].left_out:
            print(f"left out, it is a test image too: {record.path}")
    check_valid(images.values(), options.skip_invalid)
    print_skipped([image for decoded in images.values() for image in decoded.skipped])
    check_reachable(images.values(), options)
    images = {split: decoded for split, decoded in images.items() if decoded.records}
    if "train" not in images:
        raise InputError("--dataset: no training images that aren't test images too; add some")
    counts = ", ".join(f"{len(x.records)} {split}" for split, x in images.items())
    print(f"{' + '.join(options.datasets)}: images {counts}; none of a test split")
    return images


def fit(
    objective: Objective,
    batch_size: int,
    options: PretrainingOptions,
    run_dir: str,
    termination: Termination | None,
) -> list[dict]:
    """Trains the remaining epochs of the run in `run_dir`; raises as `run_epochs`.

    Returns:
        One `Objective.epoch_line` for each epoch.
    """
    model, training = objective.model, objective.training
    steps = options.epochs * training.steps(batch_size)
    rate = scheduled_learning_rate(options.schedule, options.learning_rate, steps)
    optimizer = build_optimizer(options.optimizer, rate, options.weight_decay)
    model.compile(optimizer, objective.loss, metrics=objective.metrics(), jit_compile=with_xla())
    checkpoints, progress = resume(run_dir, model, objective.epoch_line)

    def validate() -> dict[str, float]:
        figures = objective.validate(batch_size)
        return {f"val_{name}": value for name, value in figures.items()}

    def log(progress: Progress) -> None:
        lines = [objective.epoch_line(metrics) for metrics in progress.history]
        write_json_lines(os.path.join(run_dir, "metrics.jsonl"), lines)
        print(objective.epoch_text(lines[-1]), flush=True)

    progress = run_epochs(
        model, training, batch_size, options, validate, log, checkpoints, progress, termination
    )
    return [objective.epoch_line(metrics) for metrics in progress.history]


def _print_plan(options: PretrainingOptions, objective: Objective, run: dict) -> None:
    weights = options.weights or "random weights"
    parameters = objective.model.count_params()
    print(f"{options.backbone}: {parameters:,} parameters, {weights}")
    print(
        f"names {options.policy}, layout {options.layout}, "
        f"batch size {run['batch_size']} on {run['devices']}; {objective.describe()}"
    )
