"""The evaluation report of a run: one HTML page that needs no network and no script."""

import numpy as np

from covid_lm.evaluation.protocol_metrics import Evaluation
from covid_lm.files import write_text
from covid_lm.html_page import render
from covid_lm.models.classifier import Classifier
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.pipeline.decoded import DecodedRecords
from covid_lm.report.measures import (
    PROTOCOL_HEADER,
    TABLE_CLASSES,
    answer_text,
    caveats,
    confusion_cells,
    confusion_picture,
    estimate_text,
    figure_text,
    frequent_confusions,
    headline_text,
    interval_method,
    interval_text,
    more_figures,
    policy_meanings,
    protocol_table,
    setting_text,
    worst_mistakes,
)
from covid_lm.report.pictures import AGAINST, FOR, png, shown_image
from covid_lm.report.plots import learning_curves, reliability_plot, roc_curves
from covid_lm.report.token_pictures import attributed_images, seen_images

MAX_MISTAKES = 8
_MONITORED = {"val": "validation", "test": "test split"}


def write_run_report(
    path: str,
    classifier: Classifier,
    evaluation: Evaluation,
    metrics: dict,
    run: dict,
) -> None:
    """Writes the report of an evaluation.

    Args:
        path: `.../report.html`.
        classifier: the evaluated model.
        evaluation: its predictions.
        metrics: `split_metrics` of the evaluation.
        run: `run_directory.read_run` of the run.
    """
    options = run["config"]["run"]
    metrics = {"early_stopping": options.get("early_stopping"), **metrics}
    page = report_html(
        classifier, evaluation.images, evaluation.predictions, metrics, run["epochs"], options
    )
    write_text(path, page)


def report_html(
    classifier: Classifier,
    images: DecodedRecords,
    predictions: dict[str, np.ndarray],
    metrics: dict,
    epochs: list[dict],
    run: dict,
) -> str:
    """The page. Figures that `metrics` lacks are shown as unknown.

    Apart from sorting and curves, the work is the same for any number of images: 8 mistakes and 4
    attributions.

    Args:
        classifier: the evaluated model; only one of tokens gets pictures of its tokens.
        images: the evaluated split, at least one image.
        predictions: row name to probabilities, float32 [n, classes]; the run's own protocol first.
        metrics: the content of `metrics.json`.
        epochs: the lines of `metrics.jsonl`.
        run: the section `run` of `config.json`.

    Raises:
        ValueError: predictions of another number of images or classes.
    """
    classes = classifier.config.classes
    for name, probabilities in predictions.items():
        expected = (len(images.records), len(classes))
        if probabilities.shape != expected:
            raise ValueError(f"predictions[{name!r}]: {probabilities.shape}, not {expected}")
    own = next(iter(predictions.values()))
    bins = _own_row(metrics).get("reliability")
    dataset, split = metrics.get("dataset", "unknown data"), metrics.get("split", "unknown")
    monitored = _MONITORED.get(metrics.get("early_stopping", "none"), "monitored")
    return render(
        "report.html",
        title=f"{run.get('backbone', 'unknown model')} on {dataset}, {split} split",
        classes=classes,
        **_figures(metrics),
        learning=learning_curves(epochs, monitored),
        roc=roc_curves(predictions, images.labels, classes[1]),
        reliability=reliability_plot(bins, _own_row(metrics).get("ece")) if bins else None,
        confusion=_confusion(_own_row(metrics).get("confusion"), classes),
        mistakes=_mistakes(images, own, classes),
        tokens=_tokens(classifier, images, own),
        colours=(FOR, AGAINST),
        settings=[(key, setting_text(value)) for key, value in run.items()],
    )


def _own_row(metrics: dict) -> dict:
    """The row of the run's own protocol."""
    return next(iter(metrics["protocols"].values()))


def _figures(metrics: dict) -> dict:
    """The template's variables with headline and tables."""
    row, protocols = _own_row(metrics), metrics["protocols"]
    more_rows, unknown = more_figures(protocols)
    return {
        "accuracy": figure_text(row.get("accuracy")),
        "interval": interval_text(row.get("ci95")),
        "headline": headline_text(metrics),
        "auc": estimate_text(row, "auc", "auc_ci95"),
        "method": interval_method(row),
        "caveats": caveats(metrics),
        "methods": sorted({interval_method(row) for row in protocols.values()}),
        "policies": policy_meanings(metrics),
        "protocol_header": PROTOCOL_HEADER,
        "protocol_rows": protocol_table(metrics),
        "more_header": ["", *protocols],
        "more_rows": more_rows,
        "unknown_figures": unknown,
        "positive_class": next(
            (r["positive_class"] for r in protocols.values() if "positive_class" in r), None
        ),
    }


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
    shown = []
    for index in worst_mistakes(probabilities, images.labels, MAX_MISTAKES):
        record = images.records[index]
        shown.append(
            {
                "filename": record.filename,
                "thumbnail": shown_image(record, images.pixels[index]),
                "text": answer_text(probabilities[index], record.label, classes),
            }
        )
    return shown


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
