"""The paper's table 1 and figure 2, from the records of finished runs, ours beside the paper's."""

import os
from collections.abc import Sequence

from matplotlib import color_sequences
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covid_lm.backbones.configs import BACKBONES
from covid_lm.files import atomic_write

# Table 1 of the paper: epochs and test accuracy on COVID-CT.
PAPER_TABLE = {
    "rbt3": (8, 0.9951),
    "rbtl3": (3, 1.0),
    "roberta-wwm-ext-large": (10, 1.0),
}
# Published test accuracies of the paper, drawn as lines in figure 2.
PAPER_FIGURES = {"covid_ct": 0.9951, "cifar10": 0.9960, "cifar100": 0.9910}


def table_1(records: Sequence[dict]) -> str:
    """Language model, width, epochs and accuracy, the paper's and ours, and why they differ.

    Ours is the record of the `paper` protocol on COVID-CT, where there is one.
    """
    lines = [
        "| language model | width | epochs, paper | accuracy, paper | epochs, ours | "
        "accuracy, ours | why they differ |",
        "|---|---|---|---|---|---|---|",
    ]
    ours = {
        record["backbone"]: record
        for record in records
        if (record["protocol"], record["dataset"]) == ("paper", "covid_ct")
    }
    for name in (*PAPER_TABLE, *sorted(set(ours) - set(PAPER_TABLE))):
        paper = PAPER_TABLE.get(name)
        said = [str(paper[0]), f"{paper[1]:.2%}"] if paper else ["-", "-"]
        if name in ours:
            row = ours[name]["protocols"]["paper"]
            said += [str(len(ours[name]["epochs"]))]
            said += [f"{row['accuracy']:.2%} ({row['correct']}/{row['n']})"]
        else:
            said += ["-", "-"]
        width = BACKBONES[name].hidden_dim if name in BACKBONES else "-"
        lines.append(f"| {name} | {width} | {' | '.join(said)} | {_reason(name, ours)} |")
    return "\n".join(lines)


def _reason(name: str, ours: dict[str, dict]) -> str:
    if name not in ours:
        return "not run: its weights aren't part of this repository"
    record = ours[name]
    reasons = []
    if record["weights"] == "random":
        reasons.append("random weights")
    if name in PAPER_TABLE:
        if len(record["epochs"]) != PAPER_TABLE[name][0]:
            reasons.append(f"{len(record['epochs'])} epochs")
        reasons.append(f"batch {record['batch_size']} (paper: 512)")
    else:
        reasons.append("not a model of the paper")
    if record["early_stopping"] == "test":
        reasons.append("stopped by the test split, as the paper is")
    return "; ".join(reasons)


def figure_2(records: Sequence[dict], path: str) -> None:
    """Accuracy per epoch on the split that the run was watched on, a panel for each data set.

    Args:
        path: the file to write; its suffix chooses the format.
    """
    datasets = sorted({record["dataset"] for record in records})
    figure = Figure(figsize=(11, 6 * len(datasets)), layout="constrained")
    panels = figure.subplots(len(datasets), 1, squeeze=False)[:, 0]
    for panel, dataset in zip(panels, datasets, strict=True):
        panel.set_prop_cycle(color=color_sequences["tab20"])
        for record in records:
            if record["dataset"] == dataset:
                _draw(panel, record)
        if dataset in PAPER_FIGURES:
            value = PAPER_FIGURES[dataset]
            panel.axhline(value, color="black", linestyle=":", label=f"paper, test: {value:.2%}")
        panel.set(title=dataset, xlabel="epoch", ylabel="accuracy", ylim=(0, 1.02))
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    with atomic_write(path, suffix=os.path.splitext(path)[1]) as staged:
        figure.savefig(staged)


def _draw(panel: Axes, record: dict) -> None:
    epochs = [line for line in record["epochs"] if "val_accuracy" in line]
    if not epochs:
        return
    watched = "test" if record["early_stopping"] == "test" else "validation"
    size = f" {record['image_size']}" if record.get("image_size") else ""
    layout = f" {record['layout']}" if record.get("layout", "paper") != "paper" else ""
    label = (
        f"{record['backbone']}{size}{layout}, {record['weights']} weights, {record['protocol']}, "
        f"seed {record['seed']} ({watched})"
    )
    panel.plot(
        [line["epoch"] for line in epochs],
        [line["val_accuracy"] for line in epochs],
        marker=".",
        label=label,
    )
