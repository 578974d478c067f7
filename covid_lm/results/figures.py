"""Figures from records: the paper's figure 2, and the losses of pre-training."""

import os
from collections.abc import Sequence

from matplotlib import color_sequences
from matplotlib.figure import Figure

from covid_lm.files import atomic_write
from covid_lm.results.tables import predicts_words, pretraining_title, run_title

# Published test accuracies of the paper, drawn as lines in figure 2.
PAPER_ACCURACIES = {"covid_ct": 0.9951, "cifar10": 0.9960, "cifar100": 0.9910}


def figure_2(records: Sequence[dict], path: str) -> None:
    """Draw the accuracy per epoch on the split used for early stopping, one panel per data set.

    Args:
        path: file to write; its suffix chooses the format.
    """
    datasets = sorted({record["dataset"] for record in records})
    figure = Figure(figsize=(11, 6 * len(datasets)), layout="constrained")
    panels = figure.subplots(len(datasets), 1, squeeze=False)[:, 0]
    for panel, dataset in zip(panels, datasets, strict=True):
        panel.set_prop_cycle(color=color_sequences["tab20"])
        for record in records:
            epochs = [line for line in record["epochs"] if "val_accuracy" in line]
            if record["dataset"] == dataset and epochs:
                watched = "test" if record["early_stopping"] == "test" else "validation"
                accuracies = [line["val_accuracy"] for line in epochs]
                label = f"{run_title(record)} ({watched})"
                panel.plot([line["epoch"] for line in epochs], accuracies, ".-", label=label)
        if dataset in PAPER_ACCURACIES:
            value = PAPER_ACCURACIES[dataset]
            panel.axhline(value, color="black", linestyle=":", label=f"paper, test: {value:.2%}")
        panel.set(title=dataset, xlabel="epoch", ylabel="accuracy", ylim=(0, 1.02))
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    _save(figure, path)


def pretraining_figure(records: Sequence[dict], path: str) -> None:
    """Draw the validation loss by epoch and the unigram's, one panel per layout.

    Args:
        path: file to write; its suffix chooses the format.
    """
    records = [record for record in records if predicts_words(record)]
    layouts = sorted({record["layout"] for record in records})
    figure = Figure(figsize=(5.2 * len(layouts), 3.8), layout="constrained")
    panels = figure.subplots(1, len(layouts), squeeze=False, sharey=True)[0]
    for panel, layout in zip(panels, layouts, strict=True):
        chosen = sorted((r for r in records if r["layout"] == layout), key=pretraining_title)
        for record, color in zip(chosen, ("tab:blue", "tab:orange", "tab:green"), strict=False):
            losses = [epoch["val"]["loss"] for epoch in record["epochs"]]
            label = pretraining_title(record).removesuffix(f", {layout}")
            panel.plot(range(1, len(losses) + 1), losses, ".-", color=color, label=label)
            unigram = record["trivial_predictors"]["val"]["unigram"]["loss"]
            style = {"color": color, "linestyle": ":", "linewidth": 0.8}
            panel.axhline(unigram, **style, label="unigram, its images")
        panel.set(title=layout, xlabel="epoch")
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.legend(fontsize="x-small")
    panels[0].set(ylabel="validation loss, nats per masked token")
    _save(figure, path)


def _save(figure: Figure, path: str) -> None:
    with atomic_write(path, suffix=os.path.splitext(path)[1]) as staged:
        figure.savefig(staged)
