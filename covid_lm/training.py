"""A training run from flags to a verified export."""

import dataclasses
import datetime
import time

import keras
import tensorflow as tf

from covid_lm.build_classifier import build_classifier
from covid_lm.classifier import Classifier
from covid_lm.classifier_files import save_config, save_weights
from covid_lm.data import load_dataset
from covid_lm.data.records import ImageDataset
from covid_lm.data.tokens import DecodedRecords, decode_records, decoded_chunks
from covid_lm.distribution import choose_strategy, describe
from covid_lm.errors import InputError
from covid_lm.evaluation.protocols import evaluate_protocols
from covid_lm.evaluation.split_metrics import split_metrics
from covid_lm.finished_run import TrainingResult, finish_run
from covid_lm.fitting import fit
from covid_lm.machine import machine
from covid_lm.pixel_classifier import PixelClassifier
from covid_lm.run_directory import resumed_config, staged_run
from covid_lm.termination import Termination
from covid_lm.training_options import TrainingOptions, global_batch_size
from covid_lm.training_set import training_image_input

# What a run's result depends on, and so what the flags that resume it must repeat. Where it runs is
# not among it; what the data directory holds is.
DECISIVE = (
    "dataset",
    "training_images",
    "backbone",
    "weights",
    "protocol",
    "layout",
    "image_size",
    "epochs",
    "batch_size",
    "learning_rate",
    "schedule",
    "weight_decay",
    "label_smoothing",
    "augment",
    "token_dropout",
    "views",
    "dtype",
    "early_stopping",
    "seed",
)


def train(
    options: TrainingOptions, strategy: tf.distribute.Strategy | None = None
) -> TrainingResult:
    """Trains, evaluates on the whole test split, exports and verifies the export.

    Goes on with an unfinished run of the same name, if there is one.

    Args:
        options: what to train, on what, and where.
        strategy: where instead, whatever the options say.

    Raises:
        InputError: options or data that can't be used.
        RunError: no such device, the loss became non-finite, or the export can't be written or
            verified.
        Terminated: SIGTERM came, and the run is saved.
    """
    started = time.monotonic()
    if strategy is None:
        strategy = choose_strategy(
            options.tpu, options.tpu_zone, options.gcp_project, options.tpu_timeout
        )
    with Termination() as termination, staged_run(options.model_dir) as staged:
        with strategy.scope():
            dataset = load_dataset(options.dataset, options.data_dir)
            keras.utils.set_random_seed(options.seed)
            classifier = build_classifier(options, dataset.classes)
            images = decode_splits(classifier, dataset, options)
            run = _run_config(options, strategy, images["train"])
            run = resumed_config(staged, run, DECISIVE)
            save_config(classifier, staged, run)
            _print_plan(classifier, dataset, images, options, run)
            fit(classifier, images, run["batch_size"], options, staged, termination)
            save_weights(classifier, staged)
            evaluation = evaluate_protocols(classifier, dataset.split("test"), options.skip_invalid)
        metrics = {
            **split_metrics(classifier, dataset, "test", evaluation),
            "early_stopping": options.early_stopping,
            "seconds": round(time.monotonic() - started, 1),
        }
        version_dir, difference = finish_run(
            classifier, dataset, evaluation, metrics, staged, options.model_dir
        )
    seconds = time.monotonic() - started
    return TrainingResult(options.model_dir, version_dir, metrics, difference, seconds)


def decode_splits(
    classifier: Classifier | PixelClassifier, dataset: ImageDataset, options: TrainingOptions
) -> dict[str, DecodedRecords]:
    """The images that the run is trained on and stopped by, decoded once.

    The paper trains on train and validation images together; only `--early_stopping=val` holds
    the validation split out.

    Raises:
        InputError: a split that is needed has no images, or an image can't be decoded.
    """
    splits = {"train": ("train", "val")}
    if options.early_stopping == "val":
        splits = {"train": ("train",), "val": ("val",)}
    elif options.early_stopping == "test":
        splits["test"] = ("test",)
    for split, parts in {**splits, "test": ("test",)}.items():
        if not dataset.split(*parts):
            hint = "use --early_stopping=none" if split == "val" else "add some"
            raise InputError(f"{dataset.name}: no {split} images; {hint}")
    image_input = classifier.preprocessor().image_input
    if "test" not in splits:
        # A damaged test image is better known of before the training than after it.
        for chunk in decoded_chunks(dataset.split("test"), image_input, options.skip_invalid):
            _print_skipped(chunk)
    image_inputs = {"train": training_image_input(classifier, options)}
    images = {}
    for split, parts in splits.items():
        chosen = image_inputs.get(split, image_input)
        images[split] = decode_records(dataset.split(*parts), chosen, options.skip_invalid)
        _print_skipped(images[split])
    return images


def _print_skipped(decoded: DecodedRecords) -> None:
    for record in decoded.skipped:
        print(f"skipped, can't be decoded: {record.path}")


def _run_config(
    options: TrainingOptions, strategy: tf.distribute.Strategy, training: DecodedRecords
) -> dict:
    """What the run is told, and what came of it."""
    return {
        **dataclasses.asdict(options),
        "batch_size": global_batch_size(
            options, len(training.records), strategy.num_replicas_in_sync
        ),
        "training_images": f"{len(training.records)}, {training.digest}",
        "command": options.command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "devices": describe(strategy),
        "machine": machine(),
    }


def _print_plan(
    classifier: Classifier | PixelClassifier,
    dataset: ImageDataset,
    images: dict[str, DecodedRecords],
    options: TrainingOptions,
    run: dict,
) -> None:
    config = classifier.config
    weights = config.weights or "random weights, not pretrained"
    print(f"{config.backbone_name}: {classifier.logits.count_params():,} parameters, {weights}")
    counts = {split: len(decoded.records) for split, decoded in images.items()}
    held_out = f"{counts['val']} validation, " if "val" in counts else ""
    print(
        f"{dataset.name}: {counts['train']} training images, {held_out}"
        f"{len(dataset.split('test'))} test; "
        f"protocol {config.protocol} (trained {config.training_policy}, "
        f"tested {config.test_policy}), layout {config.layout}, "
        f"batch size {run['batch_size']} on {run['devices']}, "
        f"early stopping on {options.early_stopping}"
    )
