"""The report of a run: which sections there are, and in which order."""

import numpy as np

from covid_lm.data.records import ImageDataset
from covid_lm.data.splits import split_summaries
from covid_lm.evaluation.protocol_metrics import Evaluation
from covid_lm.files import write_text
from covid_lm.html_page import escaped, html_page
from covid_lm.models.classifier import Classifier
from covid_lm.pipeline.decoded import DecodedRecords, PixelsOnDemand
from covid_lm.report.measures import (
    confusion_section,
    headline_section,
    mistakes_section,
    protocol_section,
    settings_section,
)
from covid_lm.report.model_card import model_card
from covid_lm.report.plots import learning_curves, reliability_plot, roc_curves
from covid_lm.report.token_pictures import attribution_section, visible_section

_MONITORED = {"val": "validation", "test": "test split"}
_STYLE = """
.headline { font-size: 1.25rem; margin: .75rem 0 .25rem; } .headline strong { font-size: 2.25rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1rem; list-style: none; padding: 0; }
a { color: var(--bar); } h3 { margin-top: 1rem; }
.plots, .gallery { display: flex; flex-wrap: wrap; gap: 1.25rem; list-style: none; padding: 0;
  margin: .75rem 0; }
.plots figure { width: 29rem; max-width: 100%; }
.gallery li { width: 11rem; max-width: calc(50% - .625rem); }
.gallery.wide li { width: 29rem; max-width: 100%; }
.plot { max-width: 100%; height: auto; }
.plot * { stroke-linejoin: round; stroke-linecap: butt; }
.whole { white-space: nowrap; }
.thumbnail { display: block; margin-bottom: .25rem; width: 100%; aspect-ratio: 1;
  object-fit: contain; background: #000; }
.pair { display: flex; gap: .5rem; margin-bottom: .25rem; } .pair img { width: calc(50% - .25rem); }
.pixels, .heat { image-rendering: pixelated; } .heat { width: 36rem; max-width: 100%;
  border: 1px solid var(--line); }
.name { font: .875rem/1.9 ui-monospace, monospace; margin: .25rem 0; }
.name span { border-bottom: .3rem solid transparent; white-space: pre; }
.name .trimmed { opacity: .4; }
.settings { display: grid; grid-template-columns: 9rem 1fr; gap: .2rem 1rem; font-size: .875rem; }
.settings dd { margin: 0; }
.swatch { display: inline-block; width: .8em; height: .8em; }
.confusion { width: auto; } .confusion td { min-width: 3.5rem; text-align: center; }
.confusion th[scope=row] { font-weight: 600; }
"""


def write_report(
    path: str,
    classifier: Classifier,
    images: DecodedRecords,
    predictions: dict[str, np.ndarray],
    metrics: dict,
    epochs: list[dict],
    run: dict,
) -> None:
    """Writes the page beside `path`, then renames.

    Figures that `metrics` lacks are shown as unknown. The work does not grow with the number of
    images but for sorting and curves: 8 mistakes, 6 attributions.

    Args:
        path: `.../report.html`.
        classifier: one whose `reads_tokens` is False gets no pictures of tokens.
        images: the evaluated split, at least one image.
        predictions: row name to probabilities, float32 [n, classes]; the run's own protocol first.
        metrics: what `metrics.json` holds.
        epochs: the lines of `metrics.jsonl`.
        run: the section `run` of `config.json`.

    Raises:
        ValueError: predictions that aren't of these images.
    """
    for name, probabilities in predictions.items():
        expected = (len(images.records), len(classifier.config.classes))
        if probabilities.shape != expected:
            raise ValueError(f"predictions[{name!r}]: {probabilities.shape}, not {expected}")
    page = report_html(classifier, images, predictions, metrics, epochs, run)
    write_text(path, page)


def report_html(
    classifier: Classifier,
    images: DecodedRecords,
    predictions: dict[str, np.ndarray],
    metrics: dict,
    epochs: list[dict],
    run: dict,
) -> str:
    """The page itself, of the arguments of `write_report`."""
    classes = classifier.config.classes
    own = next(iter(predictions.values()))
    row = next(iter(metrics["protocols"].values()))
    dataset, split = metrics.get("dataset", "unknown data"), metrics.get("split", "unknown")
    title = f"{run.get('backbone', 'unknown model')} on {dataset}, {split} split"
    return html_page(
        title,
        _STYLE,
        [
            f"<header><h1>{escaped(title)}</h1>",
            headline_section(metrics),
            _navigation(),
            "</header><main>",
            protocol_section(metrics),
            _learning_section(epochs, metrics),
            _curves_section(predictions, images, row, classes),
            confusion_section(row.get("confusion"), classes),
            mistakes_section(images, own, classes),
            visible_section(classifier, images),
            attribution_section(classifier, images, own),
            settings_section(run),
            "</main>",
        ],
    )


def _navigation() -> str:
    sections = {
        "protocols": "Protocols",
        "learning": "Learning curve",
        "curves": "ROC and reliability",
        "confusion": "Confusion matrix",
        "mistakes": "Worst mistakes",
        "visible": "What the model can see",
        "attribution": "What answers rest on",
        "settings": "Settings",
    }
    items = "".join(f'<li><a href="#{key}">{name}</a></li>' for key, name in sections.items())
    return f'<nav aria-label="Sections"><ul>{items}</ul></nav>'


def _learning_section(epochs: list[dict], metrics: dict) -> str:
    stopping = metrics.get("early_stopping", "none")
    plots = learning_curves(epochs, _MONITORED.get(stopping, "monitored"))
    body = _plots(plots) if plots else "<p>unknown: no epoch was logged.</p>"
    return f'<h2 id="learning">Learning curve</h2>{body}'


def _curves_section(
    predictions: dict[str, np.ndarray],
    images: DecodedRecords,
    row: dict,
    classes: tuple[str, ...],
) -> str:
    labels = np.array([record.label for record in images.records])
    roc = roc_curves(predictions, labels, classes[1])
    bins = row.get("reliability")
    plots, words = [], []
    if roc is None:
        words.append("No ROC curve: a class has no example.")
    else:
        plots.append(roc)
    if bins:
        plots.append(reliability_plot(bins, row.get("ece")))
    else:
        words.append("Reliability unknown: these metrics hold no bins.")
    paragraphs = "".join(f"<p>{word}</p>" for word in words)
    return f'<h2 id="curves">ROC and reliability</h2>{_plots(plots)}{paragraphs}'


def _plots(plots: list[tuple[str, str]]) -> str:
    figures = "".join(
        f"<figure>{svg}<figcaption>{escaped(text)}.</figcaption></figure>" for svg, text in plots
    )
    return f'<div class="plots">{figures}</div>' if figures else ""


def write_run_report(
    path: str,
    classifier: Classifier,
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


def run_model_card(classifier: Classifier, dataset: ImageDataset, metrics: dict, run: dict) -> str:
    """The model card of a run in Markdown; arguments as `write_run_report`'s."""
    splits = split_summaries(dataset.records, len(dataset.classes))
    return model_card(classifier, metrics, run["config"]["run"], splits)
