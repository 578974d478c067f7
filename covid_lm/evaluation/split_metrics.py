"""All that is told of a model on one split: its rows, and what needs no model beside them."""

import csv
from collections.abc import Sequence

import numpy as np

from covid_lm.averaged_classifier import AnyClassifier, TokenClassifier
from covid_lm.data.records import ImageDataset, ImageRecord
from covid_lm.data.tokens import DecodedRecords, decode_records
from covid_lm.evaluation.floors import FLOORS, floor_probabilities
from covid_lm.evaluation.name_alone import headline, name_length_tree
from covid_lm.evaluation.protocols import Evaluation, record_metrics
from covid_lm.file_system import whole_file


def split_metrics(
    classifier: AnyClassifier,
    dataset: ImageDataset,
    split: str,
    evaluation: Evaluation,
) -> dict:
    """The content of `metrics.json`.

    Returns:
        `dataset`, `split`, `classes`, `weights`, `protocols` (the rows), `name_alone` (the metrics
        of a depth-3 tree on the name's length, fitted on the training split) and `headline` (a
        sentence where that tree does as well as the model's first row, else None).
    """
    classes = dataset.classes
    by_name = name_length_tree(dataset.split("train"), evaluation.records, len(classes))
    name_alone = record_metrics(by_name, evaluation.records, classes)
    return {
        "dataset": dataset.name,
        "split": split,
        "classes": list(classes),
        "weights": classifier.config.weights or "random",
        "protocols": evaluation.rows,
        "name_alone": name_alone,
        "headline": headline(next(iter(evaluation.rows.values())), name_alone),
    }


def floor_rows(
    classifier: TokenClassifier, dataset: ImageDataset, records: Sequence[ImageRecord]
) -> dict[str, dict]:
    """Metrics of a logistic regression and a random forest on the tokens that the model sees.

    They are fitted on the training split under the training policy.

    Args:
        classifier: one that reads tokens.
        records: what they are tested on; images that can't be decoded must be left out already.
    """
    config = classifier.config
    training = _decoded(classifier, dataset.split("train"))
    train = training.tokenize(classifier.preprocessor(config.training_policy))
    test = _decoded(classifier, records).tokenize(classifier.preprocessor())
    patients = [record.patient for record in training.records]
    rows: dict[str, dict] = {}
    for kind in FLOORS:
        probabilities = floor_probabilities(
            kind, train, test, len(config.classes), classifier.vocabulary, patients
        )
        rows[kind] = record_metrics(probabilities, records, config.classes)
    return rows


def _decoded(classifier: TokenClassifier, records: Sequence[ImageRecord]) -> DecodedRecords:
    return decode_records(records, classifier.preprocessor().image_input, skip_invalid=True)


def write_predictions(path: str, evaluation: Evaluation, classes: Sequence[str]) -> None:
    """A line of CSV for each row and image: what was said of it, and what it is."""
    with (
        whole_file(path) as staged,
        open(staged, "w", newline="", encoding="utf-8", errors="surrogateescape") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["protocol", "file", "label", "predicted", *(f"p({c})" for c in classes)])
        for name, probabilities in evaluation.predictions.items():
            for record, row in zip(evaluation.records, probabilities, strict=True):
                said = [classes[record.label], classes[int(np.argmax(row))]]
                values = [f"{value:.6f}" for value in row]
                writer.writerow([name, record.filename, *said, *values])
