"""Cross-validation by patient over the training and validation images; test images have no part.

What it is for: to choose a recipe, and its number of epochs, without a look at the test split.
"""

import dataclasses
import os

import keras
import numpy as np

from covid_lm.data import load_dataset
from covid_lm.data.records import ImageDataset
from covid_lm.data.splits import held_out_folds, limit_images
from covid_lm.environment import commit, machine
from covid_lm.errors import InputError
from covid_lm.evaluation.fold_metrics import FoldResult, fold_figures
from covid_lm.files import write_json
from covid_lm.models.classifier import predict_tokens
from covid_lm.pipeline.decoded import DecodedRecords, decode_records
from covid_lm.training.batch_size import global_batch_size
from covid_lm.training.build import build_classifier
from covid_lm.training.callbacks import StopOnNonFiniteLoss
from covid_lm.training.inputs import training_decode, training_set
from covid_lm.training.loop import compile_for_run
from covid_lm.training.options import TrainingOptions


@dataclasses.dataclass(frozen=True)
class FoldImages:
    """All images of the folds, decoded once, in one order.

    Attributes:
        held_out: as the sequences take them.
        training: as the training takes them; the same unless they are augmented.
    """

    held_out: DecodedRecords
    training: DecodedRecords


def cross_validate(
    options: TrainingOptions,
    num_folds: int = 5,
    max_folds: int | None = None,
    output: str | None = None,
) -> dict:
    """Trains a model for every fold, for all epochs, and asks it of the fold after each.

    Args:
        options: as for `training.train`; nothing stops a fold early.
        num_folds: into how many parts patients are divided.
        max_folds: how many of the folds are run, the first ones; all unless given.
        output: file that receives what is returned, as JSON, after every fold anew.

    Returns:
        `dataset`, `command`, `run` (the options), `machine`, `classes`, `images`, `patients`
        (known ones), `folds`, `folds_done`, and the keys of `fold_figures`.

    Raises:
        InputError: options or data that can't be used.
        RunError: the loss became non-finite.
    """
    if output is not None and not os.path.isdir(os.path.dirname(output) or "."):
        raise InputError(f"--output={output}: its folder does not exist")
    dataset = limit_images(load_dataset(options.dataset, options.data_dir), options.max_images)
    images = _decode(options, dataset)
    records = images.held_out.records
    splits = held_out_folds(records, num_folds, len(dataset.classes), options.seed)
    command = f"python tools/cross_validate.py{options.flags('early_stopping')} --folds={num_folds}"
    if max_folds is not None:
        command += f" --max_folds={max_folds}"
    results = []
    for number, held_out in enumerate(splits[:max_folds], 1):
        print(f"fold {number} of {num_folds}: {len(held_out)} images held out", flush=True)
        results.append(_run_fold(options, dataset.classes, images, held_out))
        report = {
            "dataset": dataset.name,
            "command": command,
            "commit": commit(),
            "run": dataclasses.asdict(options),
            "machine": machine(),
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


def _decode(options: TrainingOptions, dataset: ImageDataset) -> FoldImages:
    records = dataset.split("train", "val")
    classifier = build_classifier(options, dataset.classes)
    held_out = decode_records(records, classifier.preprocessor().decode, options.skip_invalid)
    for record in held_out.skipped:
        print(f"skipped, can't be decoded: {record.path}")
    if options.augment == "none":
        return FoldImages(held_out, held_out)
    decode = training_decode(classifier, options)
    return FoldImages(held_out, decode_records(records, decode, options.skip_invalid))


def _run_fold(
    options: TrainingOptions, classes: tuple[str, ...], images: FoldImages, held_out: np.ndarray
) -> FoldResult:
    """As `training.train` begins and `fitting.fit` trains, on the images of the other folds."""
    keras.utils.set_random_seed(options.seed)
    classifier = build_classifier(options, classes)
    rest = np.setdiff1d(np.arange(len(images.training.records)), held_out)
    training = training_set(classifier, images.training.rows(rest), options)
    asked = images.held_out.rows(held_out).tokenize(classifier.preprocessor())
    length = asked.tokens["token_ids"].shape[1] if classifier.reads_tokens else 0
    batch_size = global_batch_size(
        options.backbone, options.batch_size, len(rest), num_replicas=1, length=length
    )
    compile_for_run(classifier.logits, options, training.steps(batch_size))
    probabilities, losses = [], []
    for epoch in range(options.epochs):
        history = classifier.logits.fit(
            training.epoch(batch_size, options.seed, epoch),
            initial_epoch=epoch,
            epochs=epoch + 1,
            callbacks=[StopOnNonFiniteLoss()],
            shuffle=False,  # they are in the epoch's order already
            verbose=0,
        ).history
        losses.append(float(history["loss"][-1]))
        probabilities.append(predict_tokens(classifier, asked.tokens))
        correct = np.mean(probabilities[-1].argmax(axis=1) == asked.labels)
        print(
            f"epoch {epoch + 1}/{options.epochs}: loss {losses[-1]:.4f}, held out {correct:.4f}",
            flush=True,
        )
    return FoldResult(held_out, np.stack(probabilities), losses)
