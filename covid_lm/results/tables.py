"""Records of finished runs as the tables of the README, and McNemar's tests between them."""

import json
import os
from collections.abc import Collection, Sequence

from covid_lm.errors import InputError
from covid_lm.evaluation.lesion_place import PLACES
from covid_lm.evaluation.statistics import mcnemar
from covid_lm.files import write_text

BEGIN, END = "<!-- results: {} -->", "<!-- /results -->"
_ROW_TITLES = {
    "paper": "paper: trained on names, tested masked",
    "masked": "masked: one [MASK] per character",
    "fixed": "fixed: 24 [MASK]s",
    "absent": "absent: no name",
}


def read_records(directory: str) -> list[dict]:
    """Every record of a folder, by name.

    Raises:
        InputError: no records there, or a file that is none.
    """
    records = read_json_files(directory, ("protocols", "command"))
    if not records:
        raise InputError(f"--records={directory}: none there; tools/evaluate.py --record makes one")
    return records


def read_json_files(directory: str, keys: Collection[str] = ("command",)) -> list[dict]:
    """The objects in a folder's JSON files, by name.

    Raises:
        InputError: no such folder, or a file that is no object with these keys.
    """
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(".json"))
    except OSError as error:
        raise InputError(f"--records={directory}: {error.strerror}") from None
    objects = []
    for path in (os.path.join(directory, name) for name in names):
        try:
            with open(path, encoding="utf-8") as file:
                values = dict(json.load(file))
        except (ValueError, TypeError) as error:
            raise InputError(f"{path}: not a record ({error})") from None
        for key in keys:
            if key not in values:
                raise InputError(f"{path}: not a record ({key!r} is missing)")
        objects.append(values)
    return objects


def results_table(records: Sequence[dict]) -> str:
    """One row per record and test policy, in Markdown; then the floors and the name alone.

    The accuracy's interval is over patients where they are known (see each record's `ci95_method`).
    """
    lines = [
        "| model | protocol, test | images x epochs | seed | correct | accuracy [95%] | balanced | "
        "AUC [95%] | min |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for record in sorted(records, key=_order):
        own = record["protocol"]
        for name, row in record["protocols"].items():
            first = name == own
            title = _ROW_TITLES.get(name, name) if first else f"… tested {row['test_policy']}"
            if first and record["early_stopping"] == "test":
                title += " (stopped by the test split)"
            of_the_run = (_model(record), _taught(record), _minutes(record)) if first else ("",) * 3
            lines.append(_line(*of_the_run, title, record["seed"], row))
    floors: dict[str, dict] = next(
        (record["floors"] for record in records if "floors" in record), {}
    )
    for name, row in floors.items():
        lines.append(_line(name.replace("_", " "), "", "", "floor: the same tokens", 0, row))
    if records:
        row = records[0]["name_alone"]
        lines.append(_line("depth-3 tree", "", "", "the name's length", 0, row))
    return "\n".join(lines)


def lesion_table(records: Sequence[dict]) -> str:
    """Accuracy by where the phantom's lesions lie, a row per record that has it, in Markdown."""
    lines = [f"| model | seed | {' | '.join(PLACES)} |", "|---" * (len(PLACES) + 2) + "|"]
    for record in sorted(records, key=_order):
        if "lesion_place" not in record:
            continue
        cells = [_place(record["lesion_place"][place]) for place in PLACES]
        lines.append(f"| {_model(record)} | {record['seed']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _place(row: dict) -> str:
    if not row["n"]:
        return "-"
    low, high = row["ci95"]
    return f"{row['correct']}/{row['n']}, {row['accuracy']:.3f} [{low:.3f}, {high:.3f}]"


def commands_list(records: Sequence[dict]) -> str:
    """The command behind each row, with date and machine, in Markdown."""
    return "\n".join(
        command_entry(f"{_model(record)}, {record['protocol']}, seed {record['seed']}", record)
        for record in sorted(records, key=_order)
    )


def command_entry(title: str, record: dict) -> str:
    """A line of such a list, for any record with `date`, `machine` and `command`."""
    return f"- {title} ({record['date']}, {record['machine']}): `{record['command']}`"


def comparisons_table(records: Sequence[dict], baseline: str) -> str:
    """Every other record beside the named one by McNemar's exact test, in Markdown.

    Raises:
        InputError: no record of that name.
    """
    chosen = next((record for record in records if record["name"] == baseline), None)
    if chosen is None:
        raise InputError(f"--baseline={baseline}: no such record")
    lines = [
        f"| beside {_model(chosen)}, {chosen['protocol']}, seed {chosen['seed']} | correct | "
        "right alone | baseline right alone | exact p |",
        "|---|---|---|---|---|",
    ]
    for record in sorted(records, key=_order):
        if record is chosen or _tested_on(record) != _tested_on(chosen):
            continue
        test = mcnemar(*([hit == "1" for hit in r["hits"]] for r in (record, chosen)))
        lines.append(
            f"| {_model(record)}, {record['protocol']}, seed {record['seed']} | "
            f"{record['hits'].count('1')}/{len(record['hits'])} | {test['only_a_correct']} | "
            f"{test['only_b_correct']} | {test['p_value']:.2g} |"
        )
    return "\n".join(lines)


def replace_results(path: str, tables: dict[str, str]) -> None:
    """Replaces what stands between `<!-- results: KEY -->` and `<!-- /results -->` in a file.

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


def _tested_on(record: dict) -> tuple[str, int]:
    return record["dataset"], len(record["hits"])


def _order(record: dict) -> tuple:
    protocols = list(_ROW_TITLES)
    return (
        record["backbone"],
        record.get("layout") or "",
        record.get("image_size") or 0,
        protocols.index(record["protocol"]),
        record.get("recipe") or "",
        str(record["seed"]),  # of an average, its members'
        record["name"],
    )


def _model(record: dict) -> str:
    size = f" {record['image_size']}x{record['image_size']}" if record.get("image_size") else ""
    layout = f" {record['layout']}" if record.get("layout", "paper") != "paper" else ""
    how = "" if record.get("recipe") in (None, "paper") else f", {record['recipe']} recipe"
    if record.get("augment") not in (None, "none"):
        how += f", {record['augment']} augmentation"
    if record.get("views") == 2:
        how += ", 2 views"
    return f"{record['backbone']}{size}{layout}, {record['weights']} weights{how}"


def _taught(record: dict) -> str:
    """How many images it was trained on and how often; nothing of an average, which wasn't."""
    if not record["epochs"]:
        return ""
    return f"{record['images']:,} x {len(record['epochs'])}"


def _minutes(record: dict) -> str:
    return f"{record['seconds'] / 60:.0f}" if record["epochs"] else ""


def _line(model: str, taught: str, minutes: str, title: str, seed: int, row: dict) -> str:
    low, high = row["ci95"]
    area = "-" if row["auc"] is None else f"{row['auc']:.3f}"
    if row["auc"] is not None and row.get("auc_ci95"):
        area += " [{:.3f}, {:.3f}]".format(*row["auc_ci95"])
    return (
        f"| {model} | {title} | {taught} | {seed} | {row['correct']}/{row['n']} | "
        f"{row['accuracy']:.3f} [{low:.3f}, {high:.3f}] | {row['balanced_accuracy']:.3f} | "
        f"{area} | {minutes} |"
    )
