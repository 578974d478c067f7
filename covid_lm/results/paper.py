"""The paper's table 1, with our runs next to the paper's."""

from collections.abc import Sequence

import pandas as pd

from covid_lm.backbones.configs import BACKBONES

# Epochs and test accuracy on COVID-CT.
PAPER_TABLE = {
    "rbt3": (8, 0.9951),
    "rbtl3": (3, 1.0),
    "roberta-wwm-ext-large": (10, 1.0),
}


def table_1(records: Sequence[dict]) -> pd.DataFrame:
    """Width, epochs and accuracy of each language model, the paper's and ours, and why they differ.

    Ours is the record of the `paper` protocol on COVID-CT, if there is one.
    """
    ours = {
        record["backbone"]: record
        for record in records
        if (record["protocol"], record["dataset"]) == ("paper", "covid_ct")
    }
    rows = []
    for name in (*PAPER_TABLE, *sorted(set(ours) - set(PAPER_TABLE))):
        width = BACKBONES[name].hidden_dim if name in BACKBONES else "-"
        cells = ["-", "-", "-", "-"]
        if name in PAPER_TABLE:
            epochs, accuracy = PAPER_TABLE[name]
            cells[:2] = [str(epochs), f"{accuracy:.2%}"]
        if name in ours:
            row = ours[name]["protocols"]["paper"]
            correct = f"{row['accuracy']:.2%} ({row['correct']}/{row['n']})"
            cells[2:] = [str(len(ours[name]["epochs"])), correct]
        rows.append((name, width, *cells, _reason(name, ours.get(name))))
    header = ("language model", "width", "epochs, paper", "accuracy, paper", "epochs, ours")
    return pd.DataFrame(rows, columns=[*header, "accuracy, ours", "why they differ"])


def _reason(name: str, record: dict | None) -> str:
    if record is None:
        return "not run: its weights aren't part of this repository"
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
