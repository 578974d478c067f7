"""Training runs: from options to a verified export."""

import dataclasses
import datetime
import os
import tempfile
import time

import keras
import tensorflow as tf

from covid_lm.data import load_dataset
from covid_lm.data.records import ImageDataset
from covid_lm.data.splits import describe_splits, limit_images
from covid_lm.environment import commit, machine
from covid_lm.evaluation.protocol_metrics import (
    Evaluation,
    evaluate_protocols,
    split_metrics,
    write_predictions,
)
from covid_lm.files import write_json, write_text
from covid_lm.models.classifier import Classifier
from covid_lm.models.saving import save_config, save_weights
from covid_lm.pipeline.decoded import DecodedRecords
from covid_lm.report.model_card import model_card
from covid_lm.report.run_report import write_run_report
from covid_lm.serving.saved_model import export_classifier
from covid_lm.training.batch_size import global_batch_size
from covid_lm.training.build import build_classifier
from covid_lm.training.devices import choose_strategy, describe
from covid_lm.training.fine_tuning import fit_classifier
from covid_lm.training.inputs import decode_splits
from covid_lm.training.jax.launcher import fit_in_jax
from covid_lm.training.options import TrainingOptions
from covid_lm.training.run_directory import read_run, resumed_config, staged_run, write_samples
from covid_lm.training.termination import Termination


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """A finished run.

    Attributes:
        model_dir: `saved_models/NAME`.
        version_dir: of the export.
        metrics: the content of `metrics.json`.
        export_difference: the largest absolute difference between a probability of the export and
            the model's.
        seconds: of the run, since this process started it.
    """

    model_dir: str
    version_dir: str
    metrics: dict
    export_difference: float
    seconds: float


def train(
    options: TrainingOptions, strategy: tf.distribute.Strategy | None = None
) -> TrainingResult:
    """Trains, evaluates on the test split, exports, and verifies the export.

    Resumes an unfinished run of the same name, if there is one.

    Args:
        strategy: overrides the devices that `options` name.

    Raises:
        InputError: unusable options or data.
        RunError: no such device, the loss became non-finite, or the export can't be written or
            verified.
        Terminated: SIGTERM arrived, and the state was saved.
    """
    started = time.monotonic()
    if strategy is None:
        strategy = _strategy(options)
    with Termination() as termination, staged_run(options.model_dir) as staged:
        with strategy.scope():
            dataset, classifier, images = _prepare(options)
            run = _run_config(options, strategy, images["train"])
            run = resumed_config(staged, run, options, ("batch_size", "training_images"))
            save_config(classifier, staged, run)
            _print_plan(classifier, dataset, images, options, run)
            if options.backend == "jax":
                fit_in_jax(classifier, images, run["batch_size"], options, staged)
            else:
                fit_classifier(classifier, images, run["batch_size"], options, staged, termination)
            save_weights(classifier, staged)
            evaluation = evaluate_protocols(
                classifier, dataset.split("test"), options.skip_invalid, images.get("test")
            )
        metrics = {
            **split_metrics(classifier, dataset, "test", evaluation),
            "early_stopping": options.early_stopping,
            "seconds": round(time.monotonic() - started, 1),
        }
        version_dir, difference = _finish(
            classifier, dataset, evaluation, metrics, staged, options.model_dir
        )
    seconds = time.monotonic() - started
    return TrainingResult(options.model_dir, version_dir, metrics, difference, seconds)


def train_worker(options: TrainingOptions) -> None:
    """Runs a non-primary process of a job of several processes. Writes no files.

    Raises:
        InputError, RunError: as `train`.
    """
    with tempfile.TemporaryDirectory() as directory, _strategy(options).scope():
        _, classifier, images = _prepare(options)
        batch_size = global_batch_size(options, len(images["train"].records))
        fit_in_jax(classifier, images, batch_size, options, directory)


def _strategy(options: TrainingOptions) -> tf.distribute.Strategy:
    if options.backend == "jax":
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)  # leaves its memory to JAX
        return tf.distribute.get_strategy()
    return choose_strategy(options.tpu, options.tpu_zone, options.gcp_project, options.tpu_timeout)


def _prepare(
    options: TrainingOptions,
) -> tuple[ImageDataset, Classifier, dict[str, DecodedRecords]]:
    """The data set, the untrained classifier, and the decoded images of each split."""
    dataset = limit_images(load_dataset(options.dataset, options.data_dir), options.max_images)
    keras.utils.set_random_seed(options.seed)
    classifier = build_classifier(options, dataset.classes)
    return dataset, classifier, decode_splits(classifier, dataset, options)


def _run_config(
    options: TrainingOptions, strategy: tf.distribute.Strategy, training: DecodedRecords
) -> dict:
    """The section `run` of `config.json`."""
    devices = describe(strategy)
    if options.backend == "jax":
        devices = f"{options.num_processes} process{'es' * (options.num_processes > 1)} of JAX"
    num_images = len(training.records)
    return {
        **dataclasses.asdict(options),
        "batch_size": global_batch_size(options, num_images, strategy.num_replicas_in_sync),
        "training_images": training.summary,
        "command": options.command,
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "devices": devices,
        "machine": machine(),
    }


def _print_plan(
    classifier: Classifier,
    dataset: ImageDataset,
    images: dict[str, DecodedRecords],
    options: TrainingOptions,
    run: dict,
) -> None:
    config = classifier.config
    weights = config.weights or "random weights, not pretrained"
    print(f"{config.backbone_name}: {classifier.logits.count_params():,} parameters, {weights}")
    print(describe_splits(dataset))
    print(
        f"trained on {len(images['train'].records)} images; "
        f"protocol {config.protocol} (trained {config.training_policy}, "
        f"tested {config.test_policy}), layout {config.layout}, "
        f"batch size {run['batch_size']} on {run['devices']}, "
        f"early stopping on {options.early_stopping}"
    )


def _finish(
    classifier: Classifier,
    dataset: ImageDataset,
    evaluation: Evaluation,
    metrics: dict,
    run_dir: str,
    model_dir: str,
) -> tuple[str, float]:
    """Writes metrics, predictions, samples, report and model card, and exports the next version.

    The run directory gets its final name afterwards, so that a run interrupted here is resumed.

    Returns:
        The version's path and the largest difference, as `export_classifier`.
    """
    write_json(os.path.join(run_dir, "metrics.json"), metrics)
    write_predictions(os.path.join(run_dir, "predictions.csv"), evaluation, dataset.classes)
    write_samples(evaluation.records, run_dir)
    run = read_run(run_dir)
    card = model_card(classifier, dataset.records, metrics, run["config"]["run"])
    write_text(os.path.join(run_dir, "README.md"), card)
    write_run_report(os.path.join(run_dir, "report.html"), classifier, evaluation, metrics, run)
    return export_classifier(
        classifier,
        model_dir,
        evaluation.records,
        evaluation.own_probabilities,
        {"config.json": run["config"], "metrics.json": metrics, "model_card.md": card},
    )
