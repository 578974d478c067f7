"""Evaluation of a finished run and its export on a split."""

import os

from covid_lm.command_line import check_output
from covid_lm.data import load_dataset
from covid_lm.data.records import ImageDataset
from covid_lm.data.splits import describe_splits
from covid_lm.errors import InputError
from covid_lm.evaluation.protocol_metrics import (
    Evaluation,
    baseline_rows,
    evaluate_protocols,
    split_metrics,
)
from covid_lm.evaluation.statistics import mcnemar
from covid_lm.files import write_json
from covid_lm.models.classifier import Classifier
from covid_lm.models.saving import load_classifier
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.report.run_report import write_run_report
from covid_lm.results.run_records import hits, run_record
from covid_lm.serving.saved_model import export_difference
from covid_lm.serving.versions import resolve_model
from covid_lm.training.run_directory import read_run


def evaluate_run(
    model: str,
    dataset_name: str,
    data_dir: str | None,
    split: str = "test",
    skip_invalid: bool = False,
    output: str | None = None,
    baselines: bool = False,
    compare: str | None = None,
    record: str | None = None,
) -> dict:
    """Evaluate a run's live model under every protocol, and compare its export with it.

    The export serves one metadata policy; the others need the live model of `NAME/run`.

    Args:
        model: `saved_models/NAME[/VERSION]`.
        output: file for the returned metrics, as JSON; the report goes to `report_path`.
        baselines: add a logistic regression and a random forest on the model's tokens (`floors`).
        compare: another model to compare with, both under their own protocol, by McNemar's test
            on the images that both can decode (`comparison`).
        record: file for the run's record, as JSON.

    Returns:
        `split_metrics`, `version` (the export's folder), `export_difference` (the largest
        difference between its probabilities and the live model's), `floors`, `comparison`.

    Raises:
        InputError: no such model or data, other classes than the model's, or an unusable output.
    """
    check_output("output", output)
    check_output("record", record)
    dataset = load_dataset(dataset_name, data_dir)
    print(describe_splits(dataset))
    model_dir, version_dir, classifier = _load_model(model, dataset)
    if baselines and not classifier.reads_tokens:
        raise InputError(f"--baselines: {model} reads no tokens to fit them on")
    other = None if compare is None else _load_model(compare, dataset, flag="compare")[2]
    if not dataset.split(split):
        raise InputError(f"--split={split}: {dataset_name} has no such images")
    evaluation = evaluate_protocols(classifier, dataset.split(split), skip_invalid)
    difference = export_difference(version_dir, evaluation.records, evaluation.own_probabilities)
    report = {
        "version": version_dir,
        **split_metrics(classifier, dataset, split, evaluation),
        "export_difference": difference,
    }
    if baselines and isinstance(classifier, TokenClassifier):
        report["floors"] = baseline_rows(classifier, dataset, evaluation)
    if compare is not None and other is not None:
        decoded = evaluation.in_memory if _decode_alike(classifier, other) else None
        theirs = evaluate_protocols(other, evaluation.records, decoded=decoded)
        report["comparison"] = _compare(evaluation, compare, theirs)
    run = read_run(os.path.join(model_dir, "run"))
    if record is not None:
        write_json(record, run_record(run, report, evaluation))
    if output is not None:
        write_json(output, report)
        write_run_report(report_path(output), classifier, evaluation, report, run)
    return report


def report_path(output: str) -> str:
    """Path of the HTML report next to the JSON file."""
    return f"{output.removesuffix('.json')}.html"


def _load_model(
    model: str, dataset: ImageDataset, flag: str = "model"
) -> tuple[str, str, Classifier]:
    model_dir, version_dir = resolve_model(model, flag)
    classifier = load_classifier(os.path.join(model_dir, "run"))
    if dataset.classes != classifier.config.classes:
        raise InputError(
            f"--{flag}={model}: its classes are {', '.join(classifier.config.classes)}, but those "
            f"of {dataset.name} are {', '.join(dataset.classes)}"
        )
    return model_dir, version_dir, classifier


def _decode_alike(*classifiers: Classifier) -> bool:
    """True if the classifiers decode images to the same pixels."""
    layers = [classifier.preprocessor().image_input for classifier in classifiers]
    return len({(layer.image_size, layer.color, layer.max_pixels) for layer in layers}) == 1


def _compare(evaluation: Evaluation, other_model: str, other: Evaluation) -> dict:
    rows = (next(iter(evaluation.rows)), next(iter(other.rows)))
    return {
        "with": other_model,
        "rows": list(rows),
        "correct": [evaluation.rows[rows[0]]["correct"], other.rows[rows[1]]["correct"]],
        **mcnemar(hits(evaluation), hits(other)),
    }
