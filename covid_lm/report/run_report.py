"""The evaluation report of a run: one HTML page that needs no network and no script."""

import numpy as np

from covid_lm.evaluation.protocol_metrics import Evaluation
from covid_lm.evaluation.summary import FACTOR_HEADER, left_out_factors
from covid_lm.files import write_text
from covid_lm.html_page import render
from covid_lm.models.classifier import Classifier
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.pipeline.decoded import DecodedRecords
from covid_lm.report.measures import (
    PROTOCOL_HEADER,
    answer_text,
    caveats,
    confusion_cells,
    confusion_picture,
    counts_text,
    estimate_text,
    factor_cells,
    figure_text,
    frequent_confusions,
    interval_method,
    most_confident,
    protocol_table,
)
from covid_lm.report.pictures import AGAINST, FOR, png, shown_image
from covid_lm.report.plots import learning_curves, reliability_plot, roc_curves
from covid_lm.report.token_pictures import attributed_images, seen_images

MAX_MISTAKES = 8
TABLE_CLASSES = 12  # with more classes the confusion matrix is a picture
_MONITORED = {"val": "validation", "test": "test split"}


def write_run_report(
    path: str, classifier: Classifier, evaluation: Evaluation, metrics: dict, run: dict
) -> None:
    """Writes the report of an evaluation, from its `split_metrics` and the run's `read_run`."""
    options, predictions = run["config"]["run"], evaluation.predictions
    metrics = {"early_stopping": options.get("early_stopping"), **metrics}
    images, epochs = evaluation.images, run["epochs"]
    write_text(path, report_html(classifier, images, predictions, metrics, epochs, options))


def report_html(
    classifier: Classifier,
    images: DecodedRecords,
    predictions: dict[str, np.ndarray],
    metrics: dict,
    epochs: list[dict],
    run: dict,
) -> str:
    """The page, with at most 8 mistakes and 4 attributions for any number of images.

    Args:
        classifier: the evaluated model; only one of tokens gets pictures of its tokens.
        images: the evaluated split, at least one image.
        predictions: row name to probabilities, float32 [n, classes]; the run's own protocol first.
        metrics: the content of `metrics.json`; a missing figure is shown as unknown.
        epochs: the lines of `metrics.jsonl`.
        run: the section `run` of `config.json`.
    """
    classes, protocols = classifier.config.classes, metrics["protocols"]
    own, row = next(iter(predictions.values())), next(iter(protocols.values()))
    dataset, split = metrics.get("dataset", "unknown data"), metrics.get("split", "unknown")
    place = "all splits" if split == "all" else f"{split} split"
    monitored = _MONITORED.get(metrics.get("early_stopping", "none"), "monitored")
    bins = row.get("reliability")
    return render(
        "report.html",
        title=f"{run.get('backbone', 'unknown model')} on {dataset}, {place}",
        classes=classes,
        figure=figure_text,
        estimate=estimate_text,
        own=row,
        protocols=protocols,
        headline=metrics.get("headline", "The main result is unknown."),
        own_name=next(iter(protocols)),
        correct=counts_text(row),
        method=interval_method(row),
        methods=sorted({interval_method(row) for row in protocols.values()}),
        caveats=caveats(metrics),
        protocol_header=PROTOCOL_HEADER,
        protocol_rows=protocol_table(metrics),
        factor_header=FACTOR_HEADER,
        factor_rows=factor_cells(metrics),
        left_out=left_out_factors(metrics.get("factors", {})),
        learning=learning_curves(epochs, monitored),
        roc=roc_curves(predictions, images.labels, classes[1]),
        reliability=reliability_plot(bins, row.get("ece")) if bins else None,
        confusion=_confusion(row.get("confusion"), classes),
        mistakes=_mistakes(images, own, classes),
        tokens=_tokens(classifier, images, own),
        colours=(FOR, AGAINST),
        settings=run,
    )


def _confusion(confusion: list[list[int]] | None, classes: tuple[str, ...]) -> dict | None:
    """The `cells` of a table or, for many classes, a `picture`, its `counts` and `pairs`."""
    if not confusion:
        return None
    if len(classes) <= TABLE_CLASSES:
        return {"cells": confusion_cells(confusion)}
    return {
        "cells": None,
        "picture": png(confusion_picture(confusion)),
        "counts": f"{np.trace(confusion)} of {np.sum(confusion)}",
        "pairs": frequent_confusions(confusion, classes),
    }


def _mistakes(
    images: DecodedRecords, probabilities: np.ndarray, classes: tuple[str, ...]
) -> list[dict]:
    worst = most_confident(probabilities, images.labels, False, MAX_MISTAKES)
    return [
        {
            "filename": images.records[k].filename,
            "thumbnail": shown_image(images.records[k], images.pixels[k]),
            "text": answer_text(probabilities[k], images.records[k].label, classes),
        }
        for k in worst
    ]


def _tokens(
    classifier: Classifier, images: DecodedRecords, probabilities: np.ndarray
) -> dict | None:
    """Pictures of a token model's input and attributions; None for a model of pixels."""
    if not isinstance(classifier, TokenClassifier):
        return None
    preprocessor = classifier.preprocessor()
    return {
        "size": "x".join(map(str, preprocessor.image_input.image_size)),
        "seen": seen_images(preprocessor, images),
        "attributed": attributed_images(classifier, images, probabilities),
    }
