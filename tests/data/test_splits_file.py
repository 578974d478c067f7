"""The table of a run gives the same records, whatever the names of files, classes and columns."""

import csv
import os
import pathlib

import numpy as np
import pandas as pd
import pytest

from covid_lm.data import load_dataset
from covid_lm.data.reading import Reading
from covid_lm.data.records import ImageDataset, with_visible_names
from covid_lm.data.splits_file import ordered_classes, write_splits
from covid_lm.data.table import table_dataset
from covid_lm.errors import InputError, escape, unescape, visible_name

# Parts of names: CSV's own characters, escapes, controls, spaces, and bytes that are not UTF-8.
PARTS = [
    *(",", ";", '"', "'", "\n", "\r", "\r\n", "\t", " ", "\x1b", "\x00"[:0], "\x7f", "\\", r"\x0a"),
    *(
        r"\n",
        "#",
        "-",
        "=",
        "@",
        "~",
        "!",
        "!2",
        "!x",
        "NA",
        "nan",
        "null",
        "1",
        "01",
        "1e3",
        "1.0",
    ),
    *("True", "a", "b", "é", "e\u0301", "\xa0", "\u2028", "\u202e", "\ufeff", "\udce9", "\udcff"),
    *("path", "label", "patient-1", "x", "..", "."),
]
SIMPLE = [
    *("a,b", 'a"b', '"', "a\nb", "a\rb", "a\r\nb", "a\tb", " a", "a ", " ", "\xa0a", "a\x1b[31mb"),
    *("a\udce9b", "1", "01", "1.0", "NA", "nan", "None", "-x", "#x", "=x", "!x", "!2", r"a\x0ab"),
    *(r"a\nb", "é", "e\u0301", "\ufeffa", "~", "*", "a;b;c;d;e;f"),
]


def facts(dataset: ImageDataset) -> list[tuple]:
    return [
        (
            *(dataset.path_below(r), r.filename, r.label, r.split, r.patient),
            *(dict(r.factors), r.read()),
        )
        for r in dataset.records
    ]


def assert_round_trip(dataset: ImageDataset, root: pathlib.Path) -> ImageDataset:
    """The data set of the table of a data set, which has the same records."""
    table = str(root / "splits.csv")
    write_splits(table, dataset)
    again = load_dataset("table", table)
    assert again.classes == dataset.classes
    assert facts(again) == facts(dataset)
    written = pathlib.Path(table).read_bytes()
    assert b"\x1b" not in written
    assert len(written.splitlines()) == 1 + len(dataset.records)
    write_splits(table, again)
    assert pathlib.Path(table).read_bytes() == written
    return again


def draw_files(root: pathlib.Path, classes, names) -> None:
    """A file of each name, of its own content, in the folder of each class."""
    for number, class_name in enumerate(classes):
        os.makedirs(root / class_name)
        for place, name in enumerate(names):
            (root / class_name / f"{name}.png").write_bytes(b"%d %d" % (number, place))


def random_names(rng: np.random.Generator, count: int) -> list[str]:
    names = ("".join(rng.choice(PARTS, rng.integers(1, 5))) for _ in range(count))
    return [
        *dict.fromkeys(n for n in names if not n.strip().startswith((".", "$")) and n.strip("."))
    ]


def test_names_of_every_kind_in_a_folder(tmp_path):
    draw_files(tmp_path, ("sick", "well"), SIMPLE)
    dataset = load_dataset("folder", str(tmp_path))
    assert len(dataset.records) == 2 * len(SIMPLE)
    assert_round_trip(dataset, tmp_path)


@pytest.mark.parametrize("seed", range(6))
def test_random_names_in_a_folder(tmp_path, seed):
    rng = np.random.default_rng(seed)
    classes = random_names(rng, 5)
    draw_files(tmp_path, classes, random_names(rng, 12))
    assert_round_trip(load_dataset("folder", str(tmp_path)), tmp_path)


@pytest.mark.parametrize("seed", range(6))
def test_random_cells_in_a_table(tmp_path, seed):
    rng = np.random.default_rng(seed)
    names = [*dict.fromkeys(f"{name}.png".strip() for name in random_names(rng, 40))]
    for name in names:
        (tmp_path / name).write_bytes(os.fsencode(name))

    def cells(count: int) -> list[str]:
        return rng.choice([text.strip() or "x" for text in random_names(rng, count)], len(names))

    # A table's header is UTF-8, and pandas with pyarrow keeps no other.
    headings = [os.fsencode(text).decode("utf-8", "replace") for text in random_names(rng, 4)]
    columns = [*dict.fromkeys(text.strip() or "x" for text in headings)]
    frame = pd.DataFrame(
        {"path": names, "label": rng.permutation(cells(3)), "patient": cells(30)}
        | {f"{column} x": cells(9) for column in columns},
        dtype=object,
    )
    if len({*frame["label"]}) < 2 or len({*frame["label"]}) == len(names):
        frame["label"] = ["b", "a"] * (len(names) // 2) + ["b"] * (len(names) % 2)
    frame["split"] = "test"
    dataset = table_dataset(frame, str(tmp_path))
    assert_round_trip(with_visible_names(dataset, dataset.root), tmp_path)


def test_columns_for_names_are_written_where_they_are_needed(tmp_path):
    draw_files(tmp_path, ("sick", "well"), ["a", "é, b"])
    assert_round_trip(load_dataset("folder", str(tmp_path)), tmp_path)
    header = (tmp_path / "splits.csv").read_text().splitlines()[0]
    assert header == "path,label,split,patient"
    (tmp_path / "sick" / "a\nb.png").write_bytes(b"3")
    assert_round_trip(load_dataset("folder", str(tmp_path)), tmp_path)
    with open(tmp_path / "splits.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["path", "label", "split", "patient", "escaped_path"]
    assert [row[4] for row in rows[1:] if row[4]] == [r"sick/a\nb.png"]
    for column in ("escaped_path", "masked_name"):
        rows[0][4], rows[1][4] = column, "\\x"
        with open(tmp_path / "splits.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
        with pytest.raises(InputError, match=f"row 2: '.*' in column '{column}' has a damaged esc"):
            load_dataset("table", str(tmp_path / "splits.csv"))


def test_classes_keep_their_order(tmp_path):
    """A folder's classes are in alphabetic order, a table's numbers in numeric order."""
    draw_files(tmp_path, ("10", "9"), ["a", "b", "c"])
    dataset = load_dataset("folder", str(tmp_path))
    assert dataset.classes == ("10", "9")
    assert_round_trip(dataset, tmp_path)
    assert "label_number" in (tmp_path / "splits.csv").read_text()


@pytest.mark.parametrize(
    ("labels", "numbers", "classes"),
    [
        ("ba", "", "ab"),
        ("ba", "01", "ba"),
        ("bab", "010", "ba"),
        (["10", "9"], "", ["9", "10"]),
        (["10", "9"], "01", ["10", "9"]),
        ("ba", "12", "ab"),  # not from 0
        ("bab", "011", "ab"),  # two numbers of a label
        ("ba", "00", "ab"),
    ],
)
def test_order_of_classes(labels, numbers, classes):
    assert ordered_classes(labels, numbers) == [*classes]


def test_patients_by_a_pattern_stay_hidden(tmp_path):
    """The second run has no pattern, so it knows the identifiers by their digests only."""
    for number, surname in enumerate(("Ahlgren", "Bouvier", "Czerny", "Dvorak") * 2):
        folder = tmp_path / "ab"[number % 2] / f"{surname}-{number}"
        draw_files(folder.parent, [folder.name], [f"{surname}-{number} {k}\n" for k in range(3)])
    reading = Reading(patient_pattern="([A-Z][a-z]+-[0-9])")
    dataset = load_dataset("folder", str(tmp_path), reading)
    again = assert_round_trip(dataset, tmp_path)
    assert dataset.records[0].filename == "xxxxxxxxx 0\n.png"
    assert dataset.path_below(dataset.records[0]) == r"a/patient-1/patient-1 0\n.png"
    for one in (dataset, again):
        assert not any("Ahlgren" in text for record in one.records for text in map(str, [record]))
    # As an earlier version wrote it: the file names as well are those that are shown.
    frame = pd.read_csv(tmp_path / "splits.csv", dtype=str).drop(
        columns=["masked_name", "escaped_path"]
    )
    frame.to_csv(tmp_path / "old.csv", index=False)
    old = load_dataset("table", str(tmp_path / "old.csv"))
    assert [fact[2:] for fact in facts(old)] == [fact[2:] for fact in facts(dataset)]
    assert old.records[0].filename == r"patient-1 0\n.png"


def test_numbers_of_patients_are_no_identifiers(tmp_path):
    """A thousand patients have numbers of four digits, as some names of files have."""
    draw_files(tmp_path, ["a"], [f"scan_{number:04}" for number in range(1, 1002)])
    frame = pd.DataFrame(
        {
            "path": [f"a/scan_{number:04}.png" for number in range(1, 1002)],
            "label": ["a", *["b"] * 1000],
            "split": "test",
            "patient": [f"P{number:04}" for number in range(1001, 0, -1)],
        }
    )
    dataset = table_dataset(frame, str(tmp_path))
    assert dataset.records[0].patient == "1001"
    assert_round_trip(with_visible_names(dataset, dataset.root), tmp_path)


@pytest.mark.parametrize("text", [*SIMPLE, "", "  ", "\\", "\U0001f600"])
def test_escapes_are_reversible_and_visible(text):
    assert unescape(escape(text)) == text
    for shown in (escape(text), visible_name(text)):
        assert shown.isprintable()
        assert shown == shown.strip()
    assert escape(text).isascii()
