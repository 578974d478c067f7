"""Evaluation of a finished run and its export on a split."""

import os

import pandas as pd

from covid_lm.command_line import check_output
from covid_lm.data import load_dataset
from covid_lm.data.reading import Reading, with_window_of
from covid_lm.data.records import ImageDataset, ImageRecord
from covid_lm.data.splits import describe_splits
from covid_lm.errors import InputError
from covid_lm.evaluation.factor_metrics import factor_table
from covid_lm.evaluation.predictions import prediction_table
from covid_lm.evaluation.protocol_metrics import (
    Evaluation,
    baseline_rows,
    evaluate_protocols,
    split_metrics,
)
from covid_lm.evaluation.statistics import mcnemar
from covid_lm.files import write_json
from covid_lm.models.classifier import Classifier
from covid_lm.models.saving import load_for_dataset
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.pipeline.pixel_cache import PixelCache
from covid_lm.report.run_report import write_run_report
from covid_lm.results.run_records import hits, run_record
from covid_lm.serving.saved_model import export_difference
from covid_lm.serving.versions import resolve_model
from covid_lm.training.run_directory import read_run

ALL = "all"  # splits


class EvaluationResult(dict):
    """Metrics of an evaluation, as `evaluate_run` lists them.

    Attributes:
        predictions: `prediction_table` of the evaluated images.
    """

    def __init__(self, metrics: dict, predictions: pd.DataFrame):
        super().__init__(metrics)
        self.predictions = predictions

    @property
    def factors(self) -> pd.DataFrame:
        """The figures of each group, by scanner, sex, age band and so on, as `factor_table`."""
        return factor_table(self.get("factors", {}))


def evaluate_run(
    model: str,
    dataset: str | ImageDataset,
    data_dir: str | None,
    split: str = "test",
    skip_invalid: bool = False,
    output: str | None = None,
    baselines: bool = False,
    compare: str | None = None,
    record: str | None = None,
    reading: Reading | None = None,
    cache_dir: str | None = None,
) -> EvaluationResult:
    """Evaluate a run's live model under every protocol, and compare its export with it.

    Args:
        model: `saved_models/NAME[/VERSION]`.
        dataset, data_dir, reading: a data set, or its name with the arguments of `load_dataset`,
            whose default window is the run's.
        split: "train", "val", "test", or "all" of them.
        output: file for the returned metrics, as JSON; the report goes to `report_path`.
        baselines: add `baseline_rows` (key `floors`).
        compare: another model, both under their own protocol, by McNemar's test (`comparison`).
        record: file for the run's record, as JSON.
        cache_dir: folder of a `PixelCache`; by default a temporary one.

    Returns:
        `split_metrics`, `version` (the export's folder) and `export_difference` (the largest
        difference between its probabilities and the live model's).

    Raises:
        InputError: no such model or data, other classes than the model's, or an unusable output.
    """
    check_output("output", output)
    check_output("record", record)
    dataset = _load_data(dataset, data_dir, with_window_of(reading, resolve_model(model)[0]))
    model_dir, version_dir, classifier = _load_model(model, dataset, "model")
    if baselines:
        _check_baselines(model, classifier, dataset)
    other = None if compare is None else _load_model(compare, dataset, "compare")[2]
    records = _split_records(dataset, split)
    cache = None if cache_dir is None else PixelCache(cache_dir)
    evaluation = evaluate_protocols(classifier, records, skip_invalid, cache=cache)
    difference = export_difference(version_dir, evaluation.records, evaluation.own_probabilities)
    report = {
        "version": version_dir,
        **split_metrics(classifier, dataset, split, evaluation),
        "export_difference": difference,
    }
    if baselines and isinstance(classifier, TokenClassifier):
        report["floors"] = baseline_rows(classifier, dataset, evaluation, cache)
    if other is not None:
        report["comparison"] = {"with": compare} | _compare(classifier, evaluation, other, cache)
    run = read_run(os.path.join(model_dir, "run"))
    if record is not None:
        write_json(record, run_record(run, report, evaluation))
    if output is not None:
        write_json(output, report)
        write_run_report(report_path(output), classifier, evaluation, report, run)
    return EvaluationResult(report, prediction_table(evaluation, dataset))


def _load_data(dataset: str | ImageDataset, data_dir: str | None, reading: Reading) -> ImageDataset:
    if isinstance(dataset, str):
        dataset = load_dataset(dataset, data_dir, reading)
    print(describe_splits(dataset))
    return dataset


def _check_baselines(model: str, classifier: Classifier, dataset: ImageDataset) -> None:
    if not dataset.split("train"):
        raise InputError(f"--baselines: {dataset.name} has no training images to fit them on")
    if not isinstance(classifier, TokenClassifier):
        raise InputError(f"--baselines: {model} reads no tokens to fit them on")


def _split_records(dataset: ImageDataset, split: str) -> tuple[ImageRecord, ...]:
    records = dataset.records if split == ALL else dataset.split(split)
    if not records:
        raise InputError(f"--split={split}: {dataset.name} has no such images")
    return records


def report_path(output: str) -> str:
    """Path of the HTML report next to the JSON file."""
    return f"{output.removesuffix('.json')}.html"


def _load_model(model: str, dataset: ImageDataset, flag: str) -> tuple[str, str, Classifier]:
    model_dir, version_dir = resolve_model(model, flag)
    run = os.path.join(model_dir, "run")
    classifier = load_for_dataset(run, dataset, f"--{flag}={model}")
    classifier.fix_weights()
    return model_dir, version_dir, classifier


def _compare(
    classifier: Classifier, evaluation: Evaluation, other: Classifier, cache: PixelCache | None
) -> dict:
    layers = [model.preprocessor().image_input for model in (classifier, other)]
    same_pixels = len({(layer.image_size, layer.color, layer.max_pixels) for layer in layers}) == 1
    decoded = evaluation.images if same_pixels else None
    again = evaluate_protocols(other, evaluation.records, decoded=decoded, cache=cache)
    both = (evaluation, again)
    own = [next(iter(one.rows)) for one in both]
    correct = [one.rows[name]["correct"] for one, name in zip(both, own, strict=True)]
    return {"rows": own, "correct": correct, **mcnemar(*map(hits, both))}
