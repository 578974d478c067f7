"""Finished cross-validations: their records, and the table of the recipes compared by them."""

import datetime
from collections.abc import Sequence

from covid_lm.environment import machine_line
from covid_lm.results.run_records import weights_origin
from covid_lm.results.tables import command_entry

_KEPT = (
    *("dataset", "command", "commit", "classes", "images", "patients", "folds", "folds_done"),
    "epochs",
)


def cross_validation_record(report: dict) -> dict:
    """What stays of a cross-validation: its figures by epoch, without the answers to each image.

    Args:
        report: of `cross_validation.cross_validate`.

    Returns:
        the report's `dataset`, `command`, `commit`, `classes`, `images`, `patients`, `folds`,
        `folds_done` and `epochs`, with `weights` (`weights_origin`), `machine` in a line and
        today's `date`.
    """
    return {
        **{key: report.get(key) for key in _KEPT},
        "weights": weights_origin(report["run"]["weights"]),
        "machine": machine_line(report["machine"]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def cross_validation_table(records: Sequence[dict]) -> str:
    """A row per recipe at its epoch of the lowest log loss, the best recipe first, in Markdown."""
    lines = [
        "| recipe | folds | images | epoch | accuracy [95%] | AUC [95%] | "
        "log loss there, and last |",
        "|---|---|---|---|---|---|---|",
    ]
    for record in sorted(records, key=_order):
        best, last = _best(record), record["epochs"][-1]
        lines.append(
            f"| {recipe_title(record)} | {record['folds_done']} of {record['folds']} | "
            f"{best['n']} | {best['epoch']} of {last['epoch']} | "
            f"{best['accuracy']:.3f} [{best['ci95'][0]:.3f}, {best['ci95'][1]:.3f}] | "
            f"{best['auc']:.3f} [{best['auc_ci95'][0]:.3f}, {best['auc_ci95'][1]:.3f}] | "
            f"{best['log_loss']:.3f}, {last['log_loss']:.3f} |"
        )
    return "\n".join(lines)


def cross_validation_commands(records: Sequence[dict]) -> str:
    """The command behind each row, with date and machine, in Markdown."""
    return "\n".join(
        command_entry(recipe_title(record), record) for record in sorted(records, key=_order)
    )


def recipe_title(record: dict) -> str:
    """What the command tells apart from others: its flags of layout, weights and training."""
    told = dict(
        word.removeprefix("--").split("=", 1)
        for word in record["command"].split()
        if word.startswith("--") and "=" in word
    )
    title = f"{told['backbone']} {told.get('layout', 'paper')}, {record['weights']} weights"
    if told.get("augment", "none") != "none":
        title += f", {told['augment']} augmentation"
    for flag in ("token_dropout", "label_smoothing", "weight_decay"):
        if flag in told:
            title += f", {flag.replace('_', ' ')} {told[flag]}"
    schedule = "cosine from" if told.get("schedule") == "cosine" else "constant"
    return f"{title}, {schedule} {float(told['learning_rate']):g}"


def _best(record: dict) -> dict:
    return min(record["epochs"], key=lambda row: row["log_loss"])


def _order(record: dict) -> float:
    return _best(record)["log_loss"]
