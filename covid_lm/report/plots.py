"""Matplotlib plots as inline SVG with the colours of the page, light or dark."""

import dataclasses
import io
import re
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from sklearn import metrics

# Matplotlib knows no CSS, so each colour of the page has a placeholder, replaced in the SVG.
_COLOURS = {
    "#010101": "currentColor",
    "#010102": "var(--bar)",
    "#010103": "var(--high)",
    "#010104": "var(--medium)",
    "#010105": "var(--dim)",
}
_TEXT, _BLUE, _RED, _AMBER, _DIM = _COLOURS
# Lines differ in style and width, too, for readers who can't tell their colours apart.
_LINES = ((_BLUE, "-", 2.2), (_RED, "--", 1.6), (_AMBER, "-.", 1.6), (_TEXT, ":", 1.8))
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "covid_lm",
    "text.parse_math": False,
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    **{
        f"{name}color": _TEXT
        for name in ("text.", "axes.label", "axes.edge", "xtick.", "ytick.", "legend.label")
    },
}
_GRID = np.linspace(0, 1, 201)
SQUARE = 3.5
SCREEN_DPI = 104  # so that 10 point letters are as large as the captions


@dataclasses.dataclass(frozen=True)
class Plot:
    """A plot for the page.

    Attributes:
        drawing: the content of an `svg` element, its ids unique in the page.
        view_box: of that element.
        width: in CSS pixels.
        caption: a sentence without its full stop, also the plot's alternative text.
    """

    drawing: Markup
    view_box: str
    width: int
    caption: str


@matplotlib.rc_context(_SETTINGS)
def learning_curves(epochs: Sequence[dict], monitored: str) -> list[Plot]:
    """Loss and accuracy by epoch; empty without epochs.

    Args:
        epochs: lines of `metrics.jsonl`: `epoch`, `loss`, `accuracy`, `val_loss`, `val_accuracy`.
        monitored: name of the split of the `val_` figures.
    """
    plots = []
    for quantity in ("loss", "accuracy"):
        figure, axes = _axes("epoch", quantity)
        last = []
        names = ((quantity, "training"), (f"val_{quantity}", monitored))
        for (key, name), (colour, style, width) in zip(names, _LINES, strict=False):
            points = [(line["epoch"], line[key]) for line in epochs if line.get(key) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), style, c=colour, lw=width, marker="o", ms=4)
                axes.lines[-1].set_label(name)
                last.append(f"{name} {points[-1][1]:.3f}")
        if last:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.legend()
            caption = f"{quantity.capitalize()} by epoch; last: {', '.join(last)}"
            plots.append(_plot(figure, f"learning-{quantity}", caption))
    return plots


@matplotlib.rc_context(_SETTINGS)
def roc_curves(
    predictions: dict[str, np.ndarray], labels: np.ndarray, positive: str
) -> Plot | None:
    """ROC curves of all rows of predictions; None if a class has no example.

    For two classes, the curve of class 1; for more, the mean over classes of the true positive
    rate, one class against the rest (macro average).

    Args:
        predictions: row name to probabilities, float32 [n, classes].
        labels: int [n].
        positive: name of class 1.
    """
    num_classes = next(iter(predictions.values())).shape[1]
    if len(np.unique(labels)) < num_classes:
        return None
    figure, axes = _axes("false positive rate", "true positive rate", SQUARE)
    axes.plot([0, 1], [0, 1], "-", c=_DIM, lw=0.8)
    areas = []
    drawn = zip(predictions.items(), _LINES, strict=False)
    for (name, probabilities), (colour, style, width) in drawn:
        false_rate, true_rate = _roc(probabilities, labels)
        axes.plot(false_rate, true_rate, style, c=colour, lw=width, label=name)
        areas.append(f"{name} {metrics.auc(false_rate, true_rate):.3f}")
    axes.legend(loc="lower right")
    axes.set_aspect("equal")
    subject = f"of {positive}" if num_classes == 2 else "one class against the rest, averaged"
    return _plot(figure, "roc", f"ROC {subject}; area under the curve: {', '.join(areas)}")


@matplotlib.rc_context(_SETTINGS)
def reliability_plot(bins: Sequence[dict], ece: float | None) -> Plot:
    """Accuracy against confidence, with the number of images in each bin.

    Args:
        bins: `low`, `high`, `n`, `mean_confidence` and `accuracy` of each bin of the confidence.
        ece: expected calibration error, if known.
    """
    filled = [b for b in bins if b["n"]]
    most = max((b["n"] for b in filled), default=0)
    figure, axes = _axes("confidence of the answer", "share of correct answers", SQUARE)
    axes.plot([0, 1], [0, 1], "-", c=_DIM, lw=0.8)
    for b in filled:
        middle, width = (b["low"] + b["high"]) / 2, b["high"] - b["low"]
        axes.bar(middle, 0.25 * b["n"] / most, width, color=_DIM, alpha=0.35, lw=0)
    points = [[b[key] for b in filled] for key in ("mean_confidence", "accuracy")]
    axes.plot(*points, "-", c=_BLUE, lw=2.2, marker="o", ms=4)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    error = "unknown" if ece is None else f"{ece:.3f}"
    caption = f"expected calibration error {error}. Gray bars: images in the bin, the highest is"
    return _plot(figure, "reliability", f"Reliability; {caption} {most}")


def _roc(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if probabilities.shape[1] == 2:
        return metrics.roc_curve(labels, probabilities[:, 1])[:2]
    rates = []
    for label in range(probabilities.shape[1]):
        false_rate, true_rate, _ = metrics.roc_curve(labels == label, probabilities[:, label])
        rates.append(np.interp(_GRID, false_rate, true_rate))
    return np.r_[0, _GRID], np.r_[0, np.mean(rates, axis=0)]


def _axes(x_label: str, y_label: str, width: float = 4.4) -> tuple[Figure, matplotlib.axes.Axes]:
    figure = Figure(figsize=(width, 3.4), layout="constrained")
    return figure, figure.add_subplot(xlabel=x_label, ylabel=y_label)


def _plot(figure: Figure, name: str, caption: str) -> Plot:
    """The figure without outside resources; `name` makes its ids unique."""
    buffer = io.StringIO()
    absent = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", transparent=True, metadata=absent)
    svg = buffer.getvalue()
    opening, drawing = svg[svg.index("<svg") :].split(">", maxsplit=1)
    (view_box,) = re.findall(r'viewBox="([^"]*)"', opening)
    drawing = drawing[: drawing.rindex("</svg>")]
    drawing = re.sub(r"<defs>\s*<style.*?</defs>", "", drawing, count=1, flags=re.DOTALL)
    drawing = drawing.replace("xlink:href", "href")
    drawing = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", drawing)
    for placeholder, colour in _COLOURS.items():
        drawing = drawing.replace(placeholder, colour)
    return Plot(Markup(drawing), view_box, round(figure.get_figwidth() * SCREEN_DPI), caption)
