"""Training runs: from options to a verified export."""

import dataclasses
import os
import tempfile
import time

import keras
import tensorflow as tf

from covid_lm.data import WITH_FILES, load_dataset
from covid_lm.data.records import ImageDataset
from covid_lm.data.splits import describe_splits, limit_images
from covid_lm.data.splits_file import write_splits
from covid_lm.evaluation.predictions import write_predictions
from covid_lm.evaluation.protocol_metrics import (
    Evaluation,
    evaluate_protocols,
    split_metrics,
)
from covid_lm.files import write_json, write_text
from covid_lm.models.classifier import Classifier
from covid_lm.models.saving import save_config, save_weights
from covid_lm.pipeline.decoded import DecodedRecords
from covid_lm.pipeline.pixel_cache import PixelCache, run_cache
from covid_lm.report.model_card import model_card
from covid_lm.report.run_report import write_run_report
from covid_lm.serving.saved_model import export_classifier
from covid_lm.training.batch_size import global_batch_size
from covid_lm.training.build import build_classifier
from covid_lm.training.devices import choose_strategy
from covid_lm.training.fine_tuning import fit_classifier
from covid_lm.training.head_fitting import fit_frozen
from covid_lm.training.inputs import decode_splits
from covid_lm.training.jax.launcher import fit_in_jax
from covid_lm.training.options import TrainingOptions
from covid_lm.training.run_directory import (
    read_run,
    resumed_config,
    run_config,
    staged_run,
    write_samples,
)
from covid_lm.training.termination import Termination


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """A finished run in `model_dir`, exported to `version_dir`, with the content of `metrics.json`.

    `export_difference` is the largest absolute difference between a probability of the export and
    the model's; `seconds` is the time that this process took for the run.
    """

    model_dir: str
    version_dir: str
    metrics: dict = dataclasses.field(repr=False)
    export_difference: float
    seconds: float


def train(
    options: TrainingOptions,
    strategy: tf.distribute.Strategy | None = None,
    dataset: ImageDataset | None = None,
) -> TrainingResult:
    """Trains, evaluates on the test split, exports, and verifies the export.

    Resumes an unfinished run of the same name, if there is one.

    Args:
        strategy: overrides the devices that `options` name.
        dataset: overrides the data set that `options` name.

    Raises:
        InputError: unusable options or data.
        RunError: no such device, the loss became non-finite, or the export can't be written or
            verified.
        Terminated: SIGTERM arrived, and the state was saved.
    """
    started = time.monotonic()
    options = options.with_pinned_weights()
    strategy = strategy or choose_strategy(options)
    with (
        Termination() as termination,
        staged_run(options.model_dir) as staged,
        run_cache(options.cache_dir, options.model_dir) as cache,
    ):
        with strategy.scope():
            dataset, classifier, images = _prepare(options, dataset, cache)
            run = resumed_config(staged, run_config(options, strategy, images["train"]), options)
            save_config(classifier, staged, run)
            _print_plan(classifier, dataset, images["train"], run)
            if options.frozen:
                fit_frozen(classifier, images["train"], options, staged)
            elif options.backend == "jax":
                fit_in_jax(classifier, images, run["batch_size"], options, staged)
            else:
                fit_classifier(classifier, images, run["batch_size"], options, staged, termination)
            save_weights(classifier, staged)
            classifier.fix_weights()  # as `evaluate.py` does, so that it repeats these figures
            evaluation = evaluate_protocols(
                classifier, dataset.split("test"), options.skip_invalid, images["test"]
            )
        metrics = {
            **split_metrics(classifier, dataset, "test", evaluation),
            "early_stopping": options.early_stopping,
            "seconds": round(time.monotonic() - started, 1),
        }
        version_dir, difference = _finish(classifier, dataset, evaluation, metrics, staged)
    seconds = time.monotonic() - started
    return TrainingResult(options.model_dir, version_dir, metrics, difference, seconds)


def train_worker(options: TrainingOptions) -> None:
    """Runs a non-primary process of a multi-host job. Writes no files; raises as `train`."""
    options = options.with_pinned_weights()
    with (
        tempfile.TemporaryDirectory() as directory,
        choose_strategy(options).scope(),
        run_cache(options.cache_dir, directory) as cache,
    ):
        _, classifier, images = _prepare(options, None, cache)
        batch_size = global_batch_size(options, len(images["train"].records))
        fit_in_jax(classifier, images, batch_size, options, directory)


def _prepare(
    options: TrainingOptions, dataset: ImageDataset | None, cache: PixelCache
) -> tuple[ImageDataset, Classifier, dict[str, DecodedRecords]]:
    """The data set, the untrained classifier, and the decoded images of each split."""
    if dataset is None:
        dataset = load_dataset(options.dataset, options.data_dir, options.reading)
    dataset = limit_images(dataset, options.max_images)
    keras.utils.set_random_seed(options.seed)
    classifier = build_classifier(options, dataset.classes)
    return dataset, classifier, decode_splits(classifier, dataset, options, cache)


def _print_plan(
    classifier: Classifier, dataset: ImageDataset, training: DecodedRecords, run: dict
) -> None:
    config = classifier.config
    weights = config.weights or "random weights, not pretrained"
    print(f"{config.backbone_name}: {classifier.logits.count_params():,} parameters, {weights}")
    print(describe_splits(dataset))
    print(
        f"trained on {len(training.records)} images; "
        f"protocol {config.protocol} (trained {config.training_policy}, "
        f"tested {config.test_policy}), layout {config.layout}, "
        f"batch size {run['batch_size']} on {run['devices']}, "
        f"early stopping on {run['early_stopping']}"
    )


def _finish(
    classifier: Classifier,
    dataset: ImageDataset,
    evaluation: Evaluation,
    metrics: dict,
    run_dir: str,
) -> tuple[str, float]:
    """Writes metrics, predictions, samples, report and model card, and exports the next version.

    The run directory gets its final name afterwards, so that a run interrupted here is resumed.

    Returns:
        The version's path and the largest difference, as `export_classifier`.
    """
    write_json(os.path.join(run_dir, "metrics.json"), metrics)
    write_predictions(os.path.join(run_dir, "predictions.csv"), evaluation, dataset)
    if dataset.name in WITH_FILES:
        write_splits(os.path.join(run_dir, "splits.csv"), dataset)
    write_samples(evaluation.records, run_dir)
    run = read_run(run_dir)
    card = model_card(classifier, dataset.records, metrics, run["config"]["run"])
    write_text(os.path.join(run_dir, "README.md"), card)
    write_run_report(os.path.join(run_dir, "report.html"), classifier, evaluation, metrics, run)
    return export_classifier(
        classifier,
        os.path.dirname(run_dir),
        evaluation.records,
        evaluation.own_probabilities,
        {"config.json": run["config"], "metrics.json": metrics, "model_card.md": card},
    )
