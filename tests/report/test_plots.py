"""Figures in the plots' captions, and the colours of their SVG."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
from sklearn import metrics

from covid_lm.report.plots import Plot, learning_curves, reliability_plot, roc_curves

EPOCHS = [
    {"epoch": 1, "loss": 0.75, "accuracy": 0.5, "val_loss": 0.5},
    {"epoch": 2, "loss": 0.25, "accuracy": 0.625, "val_loss": 0.125},
]


def parsed(plot: Plot) -> ElementTree.Element:
    return ElementTree.fromstring(f"<svg>{plot.drawing}</svg>")


def test_learning_curves_draw_what_is_known():
    plots = learning_curves(EPOCHS, "validation")
    assert [plot.caption for plot in plots] == [
        "Loss by epoch; last: training 0.250, validation 0.125",
        "Accuracy by epoch; last: training 0.625",
    ]
    assert learning_curves([], "validation") == []


def test_svg_has_the_colours_of_the_page_and_unique_ids():
    plots = learning_curves(EPOCHS, "validation")
    loss = str(plots[0].drawing)
    ids = [e.get("id") for plot in plots for e in parsed(plot).iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    for reference in re.findall(r"url\(#([^)]*)\)|href=\"#([^\"]*)\"", loss):
        assert "".join(reference) in ids
    assert "currentColor" in loss
    assert "var(--bar)" in loss
    assert not re.search(r"#[0-9a-f]{6}\b", loss)
    assert "<style" not in loss
    assert learning_curves(EPOCHS, "validation") == plots  # reproducible


def test_roc_of_two_classes_is_scikit_learns():
    generator = np.random.default_rng(0)
    labels = np.arange(40) % 2
    second = generator.random(40)
    plot = roc_curves({"paper": np.stack([1 - second, second], 1)}, labels, "dog")
    area = metrics.roc_auc_score(labels, second)
    assert plot.caption == f"ROC of dog; area under the curve: paper {area:.3f}"


def test_roc_of_many_classes_is_their_mean():
    generator = np.random.default_rng(0)
    labels = np.arange(400) % 4
    probabilities = generator.dirichlet(np.ones(4), 400)
    caption = roc_curves({"paper": probabilities}, labels, "b").caption
    area = metrics.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert caption.startswith("ROC one class against the rest, averaged; ")
    assert abs(float(caption.split()[-1]) - area) < 0.003


def test_roc_needs_every_class():
    assert roc_curves({"paper": np.ones([3, 2]) / 2}, np.zeros(3, int), "dog") is None


def test_reliability_without_images_or_error():
    empty = [{"low": 0.0, "high": 1.0, "n": 0, "mean_confidence": None, "accuracy": None}]
    plot = reliability_plot(empty, None)
    assert "expected calibration error unknown" in plot.caption
    assert parsed(plot).find(".//path") is not None
