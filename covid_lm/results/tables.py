"""Result tables from the records of training runs, pre-training runs and cross-validations."""

import os
from collections.abc import Callable, Sequence

import pandas as pd

from covid_lm.errors import InputError
from covid_lm.evaluation.statistics import mcnemar
from covid_lm.evaluation.summary import interval_text, markdown_table
from covid_lm.files import write_text
from covid_lm.results.paper import table_1
from covid_lm.results.run_records import read_records
from covid_lm.training.options import TrainingOptions

BEGIN, END = "<!-- results: {} -->", "<!-- /results -->"
_PROTOCOLS = {
    "paper": "paper: trained on names, tested masked",
    "masked": "masked: one [MASK] per character",
    "fixed": "fixed: 24 [MASK]s",
    "absent": "absent: no name",
}
_MIXED = {"mixup": "mixup", "cutmix": "cutmix", "both": "mixup or cutmix"}


def all_tables(directory: str, reference: str | None = None) -> dict[str, str]:
    """Every table in Markdown by key, and the lists of commands behind them ("KEY commands").

    Args:
        directory: folder of the records, with subfolders `cross_validation` and `pretraining`.
        reference: name of a record to compare all others with (key `mcnemar`).

    Raises:
        InputError: no records there, a file that is not a record, or no record of that name.
    """
    records = sorted(read_records(directory), key=_run_order)
    tables = {"table 1": markdown_table(table_1(records))}
    if reference is not None:
        tables["mcnemar"] = markdown_table(comparisons_table(records, reference))
    for dataset in sorted({record["dataset"] for record in records}):
        chosen = [record for record in records if record["dataset"] == dataset]
        tables[dataset] = markdown_table(runs_table(chosen))
        tables[f"{dataset} commands"] = commands_list(chosen, run_title)
    for key, folder, order, table, title in (
        ("cross_validation", "cross_validation", _best_loss, cross_validation_table, recipe_title),
        ("pretraining", "pretraining", pretraining_title, pretraining_table, pretraining_title),
        ("objectives", "pretraining", pretraining_title, objectives_table, pretraining_title),
    ):
        path = os.path.join(directory, folder)
        if os.path.isdir(path):
            chosen = sorted(read_records(path, ("command", "epochs", "learning_rate")), key=order)
            if folder == "pretraining":
                chosen = [r for r in chosen if predicts_words(r) == (key == "pretraining")]
            if chosen:
                tables[key] = markdown_table(table(chosen))
                tables[f"{key} commands"] = commands_list(chosen, title)
    return tables


def commands_list(records: Sequence[dict], title: Callable[[dict], str]) -> str:
    """The command of each record with its date, machine and commit, in Markdown."""
    return "\n".join(
        f"- {title(record)} ({record['date']}, {record['machine']}, commit {commit(record)}): "
        f"`{record['command']}`"
        for record in records
    )


def commit(record: dict) -> str:
    """The abbreviated commit that made a record; "unknown" if it names none."""
    full, dash, dirty = (record.get("commit") or "unknown").partition("-")
    return f"{full[:7]}{dash}{dirty}"


def runs_table(records: Sequence[dict]) -> pd.DataFrame:
    """One row per run and test policy, then the baselines."""
    rows = []
    for record in records:
        epochs, seed = record["epochs"], record["seed"]
        images = f"{record['images']:,} x {len(epochs)}" if epochs else ""
        minutes = f"{record['seconds'] / 60:.0f}" if epochs else ""
        stopped = " (stopped by the test split)" * (record["early_stopping"] == "test")
        for name, row in record["protocols"].items():
            cells = ("", f"… tested {row['test_policy']}", "", seed, *_figures(row), "", "")
            if name == record["protocol"]:
                run = (_model(record), _PROTOCOLS[name] + stopped, images, seed)
                cells = (*run, *_figures(row), minutes, commit(record))
            rows.append(cells)
    floors: dict = next((record["floors"] for record in records if "floors" in record), {})
    baselines = [(name.replace("_", " "), "the same tokens", row) for name, row in floors.items()]
    if records[0]["name_alone"]:
        baselines.append(("depth-3 tree", "the name's length", records[0]["name_alone"]))
    rows += [(name, test, "", 0, *_figures(row), "", "") for name, test, row in baselines]
    header = ("model", "protocol, test", "images x epochs", "seed", "correct", "accuracy [95%]")
    return pd.DataFrame(rows, columns=[*header, "balanced", "AUC [95%]", "min", "commit"])


def _figures(row: dict) -> tuple[str, ...]:
    return (
        f"{row['correct']}/{row['n']}",
        interval_text(row["accuracy"], row["ci95"]),
        interval_text(row["balanced_accuracy"], None),
        interval_text(row["auc"], row.get("auc_ci95")),
    )


def _run_order(record: dict) -> tuple:
    size, seed = record.get("image_size") or 0, str(record["seed"])  # "0, 1" of an average
    protocol = list(_PROTOCOLS).index(record["protocol"])
    options = (record.get("layout") or "", size, protocol, record.get("recipe") or "", seed)
    return record["backbone"], *options, record["name"]


def _model(record: dict) -> str:
    size = f" {record['image_size']}x{record['image_size']}" if record.get("image_size") else ""
    layout = f" {record['layout']}" if record.get("layout", "paper") != "paper" else ""
    options = "" if record.get("recipe") in (None, "paper") else f", {record['recipe']} recipe"
    if record.get("augment") not in (None, "none"):
        options += f", {record['augment']} augmentation"
    if record.get("mix") not in (None, "none"):
        options += f", {_MIXED[record['mix']]}"
    if record.get("ema"):
        options += f", weights averaged ({record['ema']:g})"
    if record.get("frozen"):
        options += ", frozen, logistic regression"
    else:
        options += _optimizer(record)
    return f"{record['backbone']}{size}{layout}, {record['weights']} weights{options}"


def _optimizer(record: dict) -> str:
    """Part of a title; nothing for AdamW, the default and the only one in older records."""
    return ", Muon" if record.get("optimizer") == "muon" else ""


def run_title(record: dict) -> str:
    """Model, protocol and seed of a run."""
    return f"{_model(record)}, {record['protocol']}, seed {record['seed']}"


def comparisons_table(records: Sequence[dict], reference: str) -> pd.DataFrame:
    """Every run on the same images compared with the named one by McNemar's exact test.

    Raises:
        InputError: no record of that name.
    """
    chosen = next((record for record in records if record["name"] == reference), None)
    if chosen is None:
        raise InputError(f"--reference={reference}: no such record")
    hits, rows = [hit == "1" for hit in chosen["hits"]], []
    for record in records:
        same_images = record["dataset"] == chosen["dataset"] and len(record["hits"]) == len(hits)
        if same_images and record is not chosen:
            test = mcnemar([hit == "1" for hit in record["hits"]], hits)
            correct = f"{record['hits'].count('1')}/{len(hits)}"
            alone = (test["only_a_correct"], test["only_b_correct"], f"{test['p_value']:.2g}")
            rows.append((run_title(record), correct, *alone))
    header = ("correct", "correct alone", "reference correct alone", "exact p")
    return pd.DataFrame(rows, columns=[f"compared with {run_title(chosen)}", *header])


def cross_validation_table(records: Sequence[dict]) -> pd.DataFrame:
    """One row per recipe, at its epoch of the lowest log loss."""
    rows = []
    for record in records:
        best, last = min(record["epochs"], key=lambda row: row["log_loss"]), record["epochs"][-1]
        folds = f"{record['folds_done']} of {record['folds']}"
        epoch = f"{best['epoch']} of {last['epoch']}"
        accuracy = interval_text(best["accuracy"], best["ci95"])
        area = interval_text(best["auc"], best["auc_ci95"])
        loss = f"{best['log_loss']:.3f}, {last['log_loss']:.3f}"
        run = (recipe_title(record), folds, best["n"], epoch)
        rows.append((*run, accuracy, area, loss, commit(record)))
    header = ("recipe", "folds", "images", "epoch", "accuracy [95%]", "AUC [95%]")
    return pd.DataFrame(rows, columns=[*header, "log loss there, and last", "commit"])


def _best_loss(record: dict) -> float:
    return min(row["log_loss"] for row in record["epochs"])


def recipe_title(record: dict) -> str:
    """Model and training options of a cross-validation."""
    title = _model(record)
    if record["frozen"]:
        return title
    for name in ("label_smoothing", "weight_decay"):
        if record[name] != getattr(TrainingOptions, name):
            title += f", {name.replace('_', ' ')} {record[name]:g}"
    schedule = "cosine from" if record["schedule"] == "cosine" else "constant"
    return f"{title}, {schedule} {record['learning_rate']:g}"


def pretraining_table(records: Sequence[dict]) -> pd.DataFrame:
    """One row per pre-training run: validation loss in nats per masked token, and the unigram's."""
    rows = []
    for record in records:
        epochs = record["epochs"]
        first, last = epochs[0]["val"], epochs[-1]["val"]
        minutes = f"{sum(epoch['seconds'] for epoch in epochs) / 60:.0f}"
        model, _, layout = pretraining_title(record).rpartition(", ")
        run = (model, layout, f"{record['images']['train']:,}", len(epochs), minutes)
        losses = f"{first['loss']:.3f}, {last['loss']:.3f}"
        reached = (f"{last['perplexity']:.1f}", f"{last['accuracy']:.1%}")
        unigram = f"{record['trivial_predictors']['val']['unigram']['loss']:.3f}"
        rows.append((*run, losses, *reached, unigram, commit(record)))
    header = ("model", "layout", "images", "epochs", "min", "loss, first and last epoch")
    last_columns = ("perplexity", "accuracy", "loss of the unigram", "commit")
    return pd.DataFrame(rows, columns=[*header, *last_columns])


def objectives_table(records: Sequence[dict]) -> pd.DataFrame:
    """One row per pre-training run of another objective than words: its errors and r2."""
    rows = []
    for record in records:
        epochs, last = record["epochs"], record["epochs"][-1]
        minutes = f"{sum(epoch['seconds'] for epoch in epochs) / 60:.0f}"
        model, _, layout = pretraining_title(record).rpartition(", ")
        val = last.get("val", {})
        figures = (last["train"]["error"], val.get("error"), val.get("r2"))
        cells = ("" if figure is None else f"{figure:.3f}" for figure in figures)
        images = f"{record['images']['train']:,}"
        run = (model, layout, record["objective"], images, len(epochs), minutes)
        rows.append((*run, *cells, commit(record)))
    header = ("model", "layout", "objective", "images", "epochs", "min")
    last_columns = ("training error", "validation error", "r2", "commit")
    return pd.DataFrame(rows, columns=[*header, *last_columns])


def predicts_words(record: dict) -> bool:
    """True for a pre-training record of the masked-token objective, the only one in old records."""
    return record.get("objective", "words") == "words"


def pretraining_title(record: dict) -> str:
    """Model, initial weights, optimizer and layout of a pre-training run."""
    model = f"{record['backbone']}, from {record['weights']} weights"
    return f"{model}{_optimizer(record)}, {record['layout']}"


def replace_results(path: str, tables: dict[str, str]) -> None:
    """Replace the text between `<!-- results: KEY -->` and `<!-- /results -->` in a file.

    Raises:
        InputError: no such file, or a key without its two marks in it.
    """
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise InputError(f"--readme={path}: {error.strerror}") from None
    for key, table in tables.items():
        begin = BEGIN.format(key)
        head, found, rest = text.partition(begin)
        _, ended, tail = rest.partition(END)
        if not (found and ended):
            raise InputError(f"--readme={path}: no {begin} ... {END} in it")
        text = f"{head}{begin}\n{table}\n{END}{tail}"
    write_text(path, text)
