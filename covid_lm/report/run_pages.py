"""The pages of a run: its report, and its model card."""

from covid_lm.audit.splits import split_summaries
from covid_lm.averaged_classifier import AnyClassifier
from covid_lm.data.records import ImageDataset
from covid_lm.data.tokens import DecodedRecords, PixelsOnDemand
from covid_lm.evaluation.protocols import Evaluation
from covid_lm.report.model_card import model_card
from covid_lm.report.write_report import write_report


def write_run_report(
    path: str,
    classifier: AnyClassifier,
    evaluation: Evaluation,
    metrics: dict,
    run: dict,
) -> None:
    """Writes the report of an evaluation; the few images that it shows are decoded once more.

    Args:
        path: `.../report.html`.
        metrics: `split_metrics` of the evaluation.
        run: `run_directory.read_run` of the run.
    """
    pixels = PixelsOnDemand(evaluation.records, classifier.preprocessor().image_input)
    images = DecodedRecords(pixels, evaluation.records, evaluation.skipped)
    options = run["config"]["run"]
    monitored = {"early_stopping": options.get("early_stopping"), **metrics}
    write_report(
        path, classifier, images, evaluation.predictions, monitored, run["epochs"], options
    )


def run_model_card(
    classifier: AnyClassifier, dataset: ImageDataset, metrics: dict, run: dict
) -> str:
    """The model card of a run in Markdown; arguments as `write_run_report`'s."""
    splits = split_summaries(dataset.records, len(dataset.classes))
    return model_card(classifier, metrics, run["config"]["run"], splits)
