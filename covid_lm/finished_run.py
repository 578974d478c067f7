"""The end of a run: what was found, its pages, and the export."""

import dataclasses
import os

from covid_lm.averaged_classifier import AnyClassifier
from covid_lm.data.records import ImageDataset
from covid_lm.evaluation.protocols import Evaluation
from covid_lm.evaluation.split_metrics import write_predictions
from covid_lm.report.run_pages import run_model_card, write_run_report
from covid_lm.run_directory import read_run, write_json, write_samples, write_text
from covid_lm.serving.export import export_classifier


@dataclasses.dataclass(frozen=True)
class TrainingResult:
    """A finished run: where it is, the content of its `metrics.json`, the proof of its export."""

    model_dir: str
    version_dir: str
    metrics: dict
    export_difference: float
    seconds: float


def finish_run(
    classifier: AnyClassifier,
    dataset: ImageDataset,
    evaluation: Evaluation,
    metrics: dict,
    run_dir: str,
    model_dir: str,
) -> tuple[str, float]:
    """Writes what was found and its pages to `run_dir`, and exports the next version.

    The run is not yet named as done, so that one that is broken off here is gone on with, too.

    Args:
        metrics: what `metrics.json` is to hold.
        run_dir: of the run in progress, with its `config.json` and `metrics.jsonl`.
        model_dir: `saved_models/NAME`.

    Returns:
        The version's path and the proof, as `export_classifier`.

    Raises:
        RunError: the export can't be written or verified.
    """
    write_json(os.path.join(run_dir, "metrics.json"), metrics)
    write_predictions(os.path.join(run_dir, "predictions.csv"), evaluation, dataset.classes)
    write_samples(evaluation.records, run_dir)
    run = read_run(run_dir)
    card = run_model_card(classifier, dataset, metrics, run)
    write_text(os.path.join(run_dir, "README.md"), card)
    write_run_report(os.path.join(run_dir, "report.html"), classifier, evaluation, metrics, run)
    return export_classifier(
        classifier,
        model_dir,
        evaluation.records,
        evaluation.own_probabilities,
        {"config.json": run["config"], "metrics.json": metrics, "model_card.md": card},
    )
