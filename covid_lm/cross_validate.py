"""Cross-validation by patient over the training and validation images.

It serves to choose a recipe, and its number of epochs, without using the test split.
"""

import dataclasses

import keras
import numpy as np

from covid_lm.command_line import check_output
from covid_lm.data import load_dataset
from covid_lm.data.splits import describe_splits, held_out_folds, limit_images
from covid_lm.environment import origin
from covid_lm.evaluation.fold_metrics import FoldResult, fold_figures
from covid_lm.files import write_json
from covid_lm.models.classifier import predict_tokens
from covid_lm.pipeline.decoded import DecodedRecords, decode_records
from covid_lm.training.batch_size import global_batch_size
from covid_lm.training.build import build_classifier
from covid_lm.training.checkpoints import Progress
from covid_lm.training.fine_tuning import print_epoch
from covid_lm.training.inputs import print_skipped, training_decode, training_set
from covid_lm.training.loop import run_epochs
from covid_lm.training.optimizer import compile_for_training
from covid_lm.training.options import TrainingOptions


def cross_validate(
    options: TrainingOptions,
    num_folds: int = 5,
    max_folds: int | None = None,
    output: str | None = None,
) -> dict:
    """Trains a model for every fold and evaluates it on the fold after each epoch.

    Args:
        options: as for `train`; no fold is stopped early.
        num_folds: number of parts that the patients are divided into.
        max_folds: number of folds to run, the first ones; all unless given.
        output: file for the returned dict, as JSON, rewritten after every fold.

    Returns:
        `dataset`, the keys of `origin` and `fold_figures`, `run` (the options), `classes`,
        `images`, `patients` (known ones), `folds`, `folds_done`.

    Raises:
        InputError: unusable options or data.
        RunError: the loss became non-finite.
    """
    check_output("output", output)
    dataset = limit_images(load_dataset(options.dataset, options.data_dir), options.max_images)
    print(describe_splits(dataset))
    records = dataset.split("train", "val")
    classifier = build_classifier(options, dataset.classes)
    decode, larger = classifier.preprocessor().decode, training_decode(classifier, options)
    images = decode_records(records, decode, options.skip_invalid)
    print_skipped(images.skipped)
    augmented = images
    if larger != decode:
        augmented = decode_records(records, larger, options.skip_invalid)
    records = images.records
    splits = held_out_folds(records, num_folds, len(dataset.classes), options.seed)
    command = f"python tools/cross_validate.py{options.flags('early_stopping')} --folds={num_folds}"
    if max_folds is not None:
        command += f" --max_folds={max_folds}"
    results = []
    for number, held_out in enumerate(splits[:max_folds], 1):
        print(f"fold {number} of {num_folds}: {len(held_out)} images held out", flush=True)
        results.append(_run_fold(options, dataset.classes, images, augmented, held_out))
        report = {
            "dataset": dataset.name,
            **origin(command),
            "run": dataclasses.asdict(options),
            "classes": list(dataset.classes),
            "images": len(records),
            "patients": len({r.patient for r in records if r.patient is not None}),
            "folds": num_folds,
            "folds_done": number,
            **fold_figures(results, records, dataset.classes),
        }
        if output is not None:
            write_json(output, report)
    return report


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
    test = images.rows(held_out).tokenize(classifier.preprocessor())
    batch_size = global_batch_size(options, len(rest))
    compile_for_training(classifier.logits, options, source.steps(batch_size))
    probabilities: list[np.ndarray] = []

    def validate() -> dict[str, float]:
        probabilities.append(predict_tokens(classifier, test.tokens))
        correct = probabilities[-1].argmax(axis=1) == test.labels
        return {"held_out_accuracy": float(np.mean(correct))}

    def log(progress: Progress) -> None:
        print_epoch(progress, options.epochs)

    progress = run_epochs(classifier.logits, source, batch_size, options, validate, log)
    losses = [metrics["loss"] for metrics in progress.history]
    return FoldResult(held_out, np.stack(probabilities), losses)
