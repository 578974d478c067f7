"""Cross-validation by patient over the training and validation images.

It serves to choose a recipe, and its number of epochs, without using the test split.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import keras
import numpy as np
from scipy.special import softmax
from sklearn.metrics import log_loss

from covid_lm.command_line import check_output
from covid_lm.data import load_dataset
from covid_lm.data.records import ImageDataset, ImageRecord
from covid_lm.data.splits import describe_splits, held_out_folds, limit_images
from covid_lm.environment import origin
from covid_lm.evaluation.fold_metrics import FoldResult, fold_figures, repeated_figures
from covid_lm.files import write_json
from covid_lm.models.classifier import predict_tokens
from covid_lm.models.logistic_head import logistic_head
from covid_lm.pipeline.augmented import token_batches, training_input
from covid_lm.pipeline.decoded import DecodedRecords, decode_records
from covid_lm.pipeline.pixel_cache import PixelCache
from covid_lm.training.batch_size import global_batch_size
from covid_lm.training.build import build_classifier
from covid_lm.training.checkpoints import Progress
from covid_lm.training.devices import set_threads
from covid_lm.training.fine_tuning import print_epoch
from covid_lm.training.head_fitting import image_vectors
from covid_lm.training.inputs import print_skipped, training_set
from covid_lm.training.loop import run_epochs
from covid_lm.training.optimizer import compile_for_training
from covid_lm.training.options import TrainingOptions


def cross_validate(
    options: TrainingOptions,
    num_folds: int = 5,
    max_folds: int | None = None,
    output: str | None = None,
    repeats: int = 1,
) -> dict:
    """Trains a model for every fold and evaluates it on the fold after each epoch.

    With `options.frozen`, it fits the head alone, and computes each image's vector once.

    Args:
        options: as for `train`; no fold is stopped early.
        num_folds: number of parts that the patients are divided into.
        max_folds: number of folds to run, the first ones; all unless given.
        output: file for the returned dict, as JSON, rewritten after every fold.
        repeats: number of divisions into folds, drawn with the seeds `options.seed`, +1, ...

    Returns:
        `dataset`, the keys of `origin` and `fold_figures`, `run` (the options), `classes`,
        `images`, `patients` (known ones), `folds`, `folds_done`. With several repeats, the keys of
        `repeated_figures` instead of `fold_figures`.

    Raises:
        InputError: unusable options or data.
        RunError: the loss became non-finite.
    """
    check_output("output", output)
    options = options.with_pinned_weights()
    set_threads(options)
    dataset = load_dataset(options.dataset, options.data_dir, options.reading)
    dataset = limit_images(dataset, options.max_images)
    run_fold, records = _folds(options, dataset)
    done = 0
    finished: list[dict] = []
    common = {
        "dataset": dataset.name,
        **origin(_command(options, num_folds, max_folds, repeats)),
        "run": dataclasses.asdict(options),
        "classes": list(dataset.classes),
        "images": len(records),
        "patients": len({r.patient for r in records if r.patient is not None}),
        "folds": num_folds * repeats,
    }
    for repeat in range(repeats):
        seed = options.seed + repeat
        splits = held_out_folds(records, num_folds, len(dataset.classes), seed)[:max_folds]
        results: list[FoldResult] = []
        for number, held_out in enumerate(splits, 1):
            title = f"repeat {repeat + 1} of {repeats}, " if repeats > 1 else ""
            print(f"{title}fold {number} of {num_folds}: {len(held_out)} held out", flush=True)
            results.append(run_fold(held_out))
            done += 1
            figures = [*finished, fold_figures(results, records, dataset.classes)]
            shown = figures[0] if repeats == 1 else repeated_figures(figures)
            report = {**common, "folds_done": done, **shown}
            if output is not None:
                write_json(output, report)
        finished = figures
    return report


def _command(options: TrainingOptions, num_folds: int, max_folds: int | None, repeats: int) -> str:
    flags = f"{options.flags('early_stopping')} --folds={num_folds}"
    flags += f" --max_folds={max_folds}" if max_folds is not None else ""
    flags += f" --repeats={repeats}" if repeats > 1 else ""
    return f"{options.shown_backend}python tools/cross_validate.py{flags}"


def _folds(
    options: TrainingOptions, dataset: ImageDataset
) -> tuple[Callable[[np.ndarray], FoldResult], tuple[ImageRecord, ...]]:
    """A function from the held-out rows of a fold to its result, and the images' records."""
    print(describe_splits(dataset))
    classes = dataset.classes
    records = dataset.split("train", "val")
    classifier = build_classifier(options, classes)
    preprocessor = classifier.preprocessor()
    image_input, larger = preprocessor.image_input, training_input(options.augment, preprocessor)
    cache = None if options.cache_dir is None else PixelCache(options.cache_dir)
    images = decode_records(records, image_input, options.skip_invalid, cache)
    print_skipped(images.skipped)
    if options.frozen:
        config = classifier.config
        fitted = vectors = image_vectors(classifier, images, config.test_policy)
        if config.training_policy != config.test_policy:
            fitted = image_vectors(classifier, images, config.training_policy)
        run = functools.partial(
            _frozen_fold, options, fitted, vectors, images.records, len(classes)
        )
        return run, images.records
    augmented = images
    if larger is not image_input:
        augmented = decode_records(records, larger, options.skip_invalid, cache)
    return functools.partial(_run_fold, options, classes, images, augmented), images.records


def _frozen_fold(
    options: TrainingOptions,
    fitted_vectors: np.ndarray,
    vectors: np.ndarray,
    records: Sequence[ImageRecord],
    num_classes: int,
    held_out: np.ndarray,
) -> FoldResult:
    """Fits a head on the vectors of the images that aren't `held_out`.

    `fitted_vectors` are those under the training policy, `vectors` those under the test policy.
    """
    rest = np.setdiff1d(np.arange(len(records)), held_out)
    labels = np.array([records[row].label for row in rest])
    patients = [records[row].patient for row in rest]
    kernel, bias = logistic_head(fitted_vectors[rest], labels, num_classes, patients, options.seed)
    probabilities = softmax(vectors[held_out] @ kernel + bias, axis=1)
    fitted = softmax(fitted_vectors[rest] @ kernel + bias, axis=1)
    loss = log_loss(labels, fitted, labels=range(num_classes))
    return FoldResult(held_out, probabilities[np.newaxis].astype(np.float32), [float(loss)])


def _run_fold(
    options: TrainingOptions,
    classes: tuple[str, ...],
    images: DecodedRecords,
    augmented: DecodedRecords,
    held_out: np.ndarray,
) -> FoldResult:
    """Trains on the images that aren't `held_out`, int [images of the fold], as `train` does.

    Predicts the others after each epoch. `augmented` are all images, decoded for augmentation.
    """
    keras.utils.set_random_seed(options.seed)
    classifier = build_classifier(options, classes)
    rest = np.setdiff1d(np.arange(len(images.records)), held_out)
    source = training_set(classifier, augmented.rows(rest), options)
    test = token_batches(images.rows(held_out), classifier.preprocessor())
    batch_size = global_batch_size(options, len(rest))
    compile_for_training(classifier.logits, options, source.steps(batch_size))
    probabilities: list[np.ndarray] = []

    def validate() -> dict[str, float]:
        parts = [predict_tokens(classifier, part.tokens) for part in test.parts()]
        probabilities.append(np.concatenate(parts))
        correct = probabilities[-1].argmax(axis=1) == test.labels
        return {"held_out_accuracy": float(np.mean(correct))}

    def log(progress: Progress) -> None:
        print_epoch(progress, options.epochs)

    progress = run_epochs(classifier.logits, source, batch_size, options, validate, log)
    losses = [metrics["loss"] for metrics in progress.history]
    return FoldResult(held_out, np.stack(probabilities), losses)
