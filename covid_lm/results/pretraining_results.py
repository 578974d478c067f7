"""Finished pre-training runs: their records, as a table and as curves."""

import json
import os
from collections.abc import Sequence

from matplotlib.figure import Figure

from covid_lm.errors import InputError
from covid_lm.files import atomic_write, read_bytes
from covid_lm.results.tables import command_entry

_TOLD = ("backbone", "layout", "protocol", "max_images", "batch_size", "learning_rate", "dtype")


def pretraining_record(model_dir: str) -> dict:
    """What stays of a pre-training run when its weights are gone.

    Args:
        model_dir: `saved_models/NAME`, finished.

    Returns:
        "name", the run's options, "weights" ("random" or "pretrained", at the start), "command",
        and the content of its `metrics.json`.

    Raises:
        InputError: no finished pre-training run there.
    """
    run_dir = os.path.join(model_dir, "run")
    try:
        told = json.loads(read_bytes(os.path.join(run_dir, "config.json")))["pretraining"]
        metrics = json.loads(read_bytes(os.path.join(run_dir, "metrics.json")))
        return {
            "name": os.path.basename(os.path.normpath(model_dir)),
            **{key: told.get(key) for key in _TOLD},
            "weights": "random" if told["weights"] is None else "pretrained",
            **{key: metrics[key] for key in ("datasets", "images", "words")},
            **{key: metrics.get(key) for key in ("command", "commit", "date", "machine")},
            "trivial_predictors": metrics["trivial_predictors"],
            "epochs": metrics["epochs"],
        }
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"--pretraining={model_dir}: no finished pre-training run ({error})"
        ) from None


def pretraining_table(records: Sequence[dict]) -> str:
    """A row per run: validation loss in nats per masked token, beside the trivial predictors'."""
    lines = [
        "| model | layout | images | epochs | min | loss, first and last epoch | perplexity | "
        "accuracy | loss of unigram | loss of copy left |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for record in sorted(records, key=_order):
        first, last = record["epochs"][0]["val"], record["epochs"][-1]["val"]
        trivial = record["trivial_predictors"]["val"]
        minutes = sum(epoch["seconds"] for epoch in record["epochs"]) / 60
        lines.append(
            f"| {_model(record)} | {record['layout']} | {record['images']['train']:,} | "
            f"{len(record['epochs'])} | {minutes:.0f} | {first['loss']:.3f}, {last['loss']:.3f} | "
            f"{last['perplexity']:.1f} | {last['accuracy']:.1%} | "
            f"{trivial['unigram']['loss']:.3f} | {trivial['copy_left']['loss']:.3f} |"
        )
    return "\n".join(lines)


def pretraining_commands(records: Sequence[dict]) -> str:
    """The command behind each row, with date and machine, in Markdown."""
    return "\n".join(
        command_entry(f"{_model(record)}, {record['layout']}", record)
        for record in sorted(records, key=_order)
    )


def pretraining_figure(records: Sequence[dict], path: str) -> None:
    """Validation loss by epoch, a panel for each layout, with the trivial predictors as lines.

    Args:
        path: the file to write; its suffix chooses the format.
    """
    layouts = sorted({record["layout"] for record in records})
    figure = Figure(figsize=(5.2 * len(layouts), 3.8), layout="constrained")
    panels = figure.subplots(1, len(layouts), squeeze=False, sharey=True)[0]
    for panel, layout in zip(panels, layouts, strict=True):
        chosen = sorted((r for r in records if r["layout"] == layout), key=_order)
        for record, color in zip(chosen, ("tab:blue", "tab:orange", "tab:green"), strict=False):
            losses = [epoch["val"]["loss"] for epoch in record["epochs"]]
            panel.plot(range(1, len(losses) + 1), losses, ".-", color=color, label=_model(record))
            for predictor, style in (("unigram", ":"), ("copy_left", "--")):
                loss = record["trivial_predictors"]["val"][predictor]["loss"]
                label = f"{predictor.replace('_', ' ')}, its images"
                panel.axhline(loss, color=color, linestyle=style, linewidth=0.8, label=label)
        panel.set(title=layout, xlabel="epoch")
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.legend(fontsize="x-small")
    panels[0].set(ylabel="validation loss, nats per masked token")
    with atomic_write(path, suffix=os.path.splitext(path)[1]) as staged:
        figure.savefig(staged)


def _order(record: dict) -> tuple:
    return record["backbone"], record["layout"], record["name"]


def _model(record: dict) -> str:
    return f"{record['backbone']}, from {record['weights']} weights"
