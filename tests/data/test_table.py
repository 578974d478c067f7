"""Tables: columns, rows that can't be used, splits by patient, and tables of finished runs."""

import collections
import csv
import io
import os
import pathlib

import pandas as pd
import pytest

from covid_lm.data import load_dataset
from covid_lm.data.reading import Reading, parse_columns
from covid_lm.data.splits_file import write_splits
from covid_lm.data.table import table_dataset, table_images
from covid_lm.errors import InputError

# Patients of one to three images each, with facts of the patient.
ROWS = [
    {
        "Image Index": f"scans/{patient:02}_{number}.png",
        "Finding": ("well", "sick")[patient % 2],
        "Patient ID": f"Doe^{patient:02}",
        "sex": "FM"[patient // 2 % 2],
        "Age": 20 + patient,
    }
    for patient in range(40)
    for number in range(1 + patient % 3)
]
COLUMNS = {"path": "Image Index", "label": "Finding"}


@pytest.fixture
def images(tmp_path) -> pathlib.Path:
    """A folder with the image files of the rows."""
    (tmp_path / "scans").mkdir()
    for row in ROWS:
        (tmp_path / row["Image Index"]).write_bytes(row["Image Index"].encode())
    return tmp_path


def write(path: pathlib.Path, rows: list[dict], **options) -> str:
    pd.DataFrame(rows).to_csv(path, index=False, **options)
    return str(path)


def facts(dataset) -> list[tuple]:
    return [
        (dataset.path_below(r), dataset.classes[r.label], r.split, r.patient, dict(r.factors))
        for r in dataset.records
    ]


def test_images_of_a_table_need_no_labels(images):
    paths = [{"Image Index": row["Image Index"]} for row in ROWS]
    expected = [str(images / row["Image Index"]) for row in ROWS]
    assert table_images(write(images / "t.csv", paths), {"path": "Image Index"}) == expected
    (images / "sub").mkdir()
    table = write(images / "sub" / "t.tsv", [{"file": p["Image Index"]} for p in paths], sep="\t")
    assert table_images(table, image_root=str(images)) == expected
    with pytest.raises(InputError, match=r"t.tsv: row 2: scans/00_0.png: no such file below "):
        table_images(table)
    with pytest.raises(InputError, match="no column is the path among sex; give --columns=path=NA"):
        table_images(write(images / "t.csv", [{"sex": "F"}]))


def test_rows_become_records_in_their_order(images):
    dataset = load_dataset("table", write(images / "t.csv", ROWS), Reading(COLUMNS))
    assert dataset.classes == ("sick", "well")
    assert dataset.notes == ("columns: path=Image Index, label=Finding, patient=Patient ID",)
    assert [(path, label) for path, label, *_ in facts(dataset)] == [
        (row["Image Index"], row["Finding"]) for row in ROWS
    ]
    assert dataset.records[3].filename == "02_0.png"
    assert dataset.records[3].read() == b"scans/02_0.png"
    assert dataset.records[3].factors == {"sex": "M", "Age": "22"}
    names = {r.patient: row["Patient ID"] for r, row in zip(dataset.records, ROWS, strict=True)}
    assert names == {f"{number + 1:02}": f"Doe^{number:02}" for number in range(40)}


def test_missing_splits_are_drawn_by_patient_with_classes_in_equal_shares(images):
    path = write(images / "t.csv", ROWS)
    dataset = load_dataset("table", path, Reading(COLUMNS))
    assert dataset.drawn == ("test", "val")
    patients = {s: {r.patient for r in dataset.split(s)} for s in ("train", "val", "test")}
    assert sum(map(len, patients.values())) == len(set().union(*patients.values())) == 40
    assert [len(patients[split]) for split in ("train", "val", "test")] == [28, 4, 8]
    for split in patients:
        labels = collections.Counter(record.label for record in dataset.split(split))
        assert labels[0] / labels.total() == pytest.approx(0.5, abs=0.13)
    reverse = load_dataset("table", write(images / "t.csv", ROWS[::-1]), Reading(COLUMNS))
    assert facts(reverse)[::-1] == facts(dataset)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("t.tsv", {"sep": "\t"}),
        ("t.CSV", {"sep": ";"}),
        ("t.csv", {"encoding": "utf-8-sig", "lineterminator": "\r\n", "quoting": csv.QUOTE_ALL}),
    ],
)
def test_forms_of_files(images, name, options):
    expected = load_dataset("table", write(images / "t.csv", ROWS), Reading(COLUMNS))
    path = write(images / name, ROWS, **options)
    with open(path, "a", encoding="utf-8") as file:
        file.write("\n" + options.get("sep", ",") * 4 + "\n")  # as spreadsheets leave them
    assert facts(load_dataset("table", path, Reading(COLUMNS))) == facts(expected)


def test_the_separator_is_the_one_that_finds_the_known_columns(small):
    text = TABLE.replace("site", "a;b;c;d;e;f")
    assert list(load(text).records[0].factors) == ["a;b;c;d;e;f"]
    assert list(load(TABLE.replace(",", ";")).records[0].factors) == ["site"]


def test_a_parquet_file(images):
    pytest.importorskip("pyarrow")
    pd.DataFrame(ROWS).to_parquet(images / "t.parquet")
    dataset = load_dataset("table", str(images / "t.parquet"), Reading(COLUMNS))
    assert dataset.records[3].factors == {"sex": "M", "Age": "22"}


def typed_frame() -> pd.DataFrame:
    """Columns of the types that a Parquet file can have, with missing values."""
    count = len(ROWS)
    patient = [2**53 + row // 2 for row in range(count)]
    return pd.DataFrame(
        {
            "path": [row["Image Index"] for row in ROWS],
            "label": [row % 2 for row in range(count)],
            "split": pd.Categorical(["train", "val", "test"] * (count // 3) + ["test"]),
            "patient": pd.array([None, *patient[1:]], dtype="Int64"),
            "site": pd.Categorical([None, *["A", "01"] * (count // 2)][:count]),
            "grade": pd.array([None, *range(1, count)], dtype="Int64"),
            "dose": [float("nan"), *[0.5] * (count - 1)],
            "smoker": pd.array([None, *[True] * (count - 1)], dtype="boolean"),
            "day": pd.to_datetime(["2020-03-01"] * count),
        }
    )


def check_typed(dataset) -> None:
    assert (dataset.classes, len(dataset.records)) == (("0", "1"), len(ROWS))
    first, second = dataset.records[:2]
    assert first.factors == {**dict.fromkeys(("site", "grade", "dose", "smoker"), ""), **DAY}
    typed = {"site": "A", "grade": "1", "dose": "0.5", "smoker": "True"}
    assert second.factors == {**typed, **DAY}
    assert first.patient is None
    numbers = [record.patient for record in dataset.records]
    assert len({*numbers}) == 1 + (len(ROWS) + 1) // 2
    assert numbers[1] != numbers[2] == numbers[3]


DAY = {"day": "2020-03-01 00:00:00"}


def test_a_frame_of_typed_columns(images):
    check_typed(table_dataset(typed_frame(), str(images)))


def test_a_parquet_file_of_typed_columns_and_the_table_of_its_run(images):
    pytest.importorskip("pyarrow")
    typed_frame().to_parquet(images / "t.parquet")
    dataset = load_dataset("table", str(images / "t.parquet"))
    check_typed(dataset)
    write_splits(str(images / "splits.csv"), dataset)
    again = load_dataset("table", str(images / "splits.csv"))
    assert (facts(again), again.classes) == (facts(dataset), dataset.classes)


def test_a_damaged_parquet_file(images):
    pytest.importorskip("pyarrow")
    (images / "t.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"t.parquet: can't be read as a table \(Could not"):
        load_dataset("table", str(images / "t.parquet"))


def test_a_parquet_file_without_its_library(images, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    monkeypatch.setitem(__import__("sys").modules, "fastparquet", None)
    (images / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError) as error:
        load_dataset("table", str(images / "t.parquet"))
    needed = "needs pip install 'covid_lm[parquet]'; or give a .csv file"
    assert str(error.value) == f"{images / 't.parquet'}: {needed}"


def test_a_data_frame_is_a_table_and_missing_values_are_empty(images):
    frame = pd.DataFrame(ROWS)
    frame.loc[0, ["Age", "Patient ID"]] = None
    frame["Finding"] = frame["Finding"].astype("category")
    frame["grade"] = pd.array([None, *range(len(frame) - 1)], dtype="Int64")
    dataset = table_dataset(frame, str(images), COLUMNS)
    assert dataset.records[0].patient is None
    assert dataset.records[0].factors == {"sex": "F", "Age": "", "grade": ""}
    assert dataset.records[1].factors == {"sex": "F", "Age": "21", "grade": "0"}


def test_a_table_of_a_run_gives_the_same_records(images):
    rows = [{**row, "patient": "a factor's name"} for row in ROWS]
    reading = Reading({**COLUMNS, "patient": "Patient ID"})
    dataset = load_dataset("table", write(images / "t.csv", rows), reading)
    (images / "run").mkdir()
    write_splits(str(images / "run" / "splits.csv"), dataset)
    again = load_dataset(
        "table", str(images / "run" / "splits.csv"), Reading(image_root=str(images))
    )
    assert facts(again) == facts(dataset)
    assert (again.drawn, again.classes) == ((), dataset.classes)
    assert "Doe" not in (images / "run" / "splits.csv").read_text()
    write_splits(str(images / "run" / "again.csv"), again)
    assert (images / "run" / "again.csv").read_bytes() == (
        images / "run" / "splits.csv"
    ).read_bytes()


TABLE = """file,class,set,subject,site
1.png,sick,train,p1,a
2.png,well,train,p2,a
3.png,sick,Validation,p3,b
4.png,well,dev,p4,a
5.png,sick,TEST,p5,b
6.png,well,testing,p6,b
"""


@pytest.fixture
def small(tmp_path, monkeypatch) -> pathlib.Path:
    """A working folder with six images."""
    monkeypatch.chdir(tmp_path)
    for number in range(1, 7):
        (tmp_path / f"{number}.png").write_bytes(b"x")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "out.png").symlink_to("/etc/hostname")
    return tmp_path


def load(text: str, reading: Reading | None = None):
    pathlib.Path("t.csv").write_text(text)
    return load_dataset("table", "t.csv", reading)


def test_aliases_of_columns_and_splits(small):
    dataset = load(TABLE)
    assert dataset.notes == ("columns: path=file, label=class, split=set, patient=subject",)
    assert facts(dataset)[2] == ("3.png", "sick", "val", "3", {"site": "b"})
    assert [len(dataset.split(s)) for s in ("train", "val", "test")] == [2, 2, 2]
    assert load(TABLE.replace("file", "Image Path")).records[0].path == dataset.records[0].path


def test_paths_of_other_forms(small):
    text = TABLE.replace("1.png", f"{small}/1.png").replace("2.png", "./2.png")
    (small / "sub").mkdir()
    (small / "3.png").rename(small / "sub" / "3.png")
    text = text.replace("3.png", r"sub\3.png")
    paths = [row[0] for row in facts(load(text, Reading(image_root=str(small))))]
    assert paths == ["1.png", "2.png", "sub/3.png", "4.png", "5.png", "6.png"]


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("3.png,", "absent.png,", "row 4: absent.png: no such file below .; correct it, or give"),
        ("3.png,", ",", "row 4: no path"),
        ("3.png,", "../3.png,", "row 4: ../3.png: leads out of .; give --image_root"),
        ("3.png,", "/etc/hostname,", "row 4: "),
        ("3.png,", "out.png,", "row 4: out.png: a link out of .; put the file itself there"),
        ("3.png,", "pipe.png,", "row 4: pipe.png: not a regular file (a FIFO)"),
        ("3.png,", "1.png,", "row 4: 1.png: in row 2, too; keep one of them"),
        ("3.png,", "./1.png,", "row 4: ./1.png: in row 2, too; keep one of them"),
        ("3.png,sick", "3.png,", "row 4: no label in column 'class'; add it or remove the row"),
        ("Validation", "hold-out", "row 4: 'hold-out' in column 'set' is none of train, val, test"),
        ("Validation", "", "row 4: '' in column 'set' is none of train, val, test"),
        ("p3,b", "p3,b,c", "can't be read as a table (row 4 has 6 cells, the header 5)"),
        ("file", "x", "no column is the path among x, class, set, subject, site; give --columns="),
        ("class", "x", "no column is the label among file, x, set, subject, site; give --columns="),
        ("site", "set", "two columns 'set'; rename one of them"),
        ("well", "sick", "column 'class' has 1 class(es); two are needed"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(small, before, after, message):
    count = -1 if before == "well" else 1
    with pytest.raises(InputError) as error:
        load(TABLE.replace(before, after, count))
    assert str(error.value).startswith(f"t.csv: {message}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("file", "absent.png", "table: row 2: absent.png: no such file below ."),
        ("file", "a\nb.png", r"table: row 2: a\nb.png: no such file below ."),
        ("file", None, "table: row 2: no path"),
        ("file", "1.png", "table: row 2: 1.png: in row 0, too; keep one of them"),
        ("class", float("nan"), "table: row 2: no label in column 'class'; add it or remove the"),
        ("class", "  ", "table: row 2: no label in column 'class'; add it or remove the row"),
        ("set", pd.NA, "table: row 2: '' in column 'set' is none of train, val, test"),
        ("subject", "p1", "table: row 0 (train) and row 2 (val) are of one patient (1 patient(s)"),
        (" set ", "x", "table: two columns 'set'; rename one of them"),
    ],
)
def test_a_row_of_a_frame_that_cannot_be_used_is_named(small, column, value, message):
    frame = pd.read_csv(io.StringIO(TABLE))
    frame[column] = frame[column].astype(object) if column in frame else ""
    frame.loc[2, column] = value
    with pytest.raises(InputError) as error:
        table_dataset(frame, allow_patient_overlap=False)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_several_rows_of_one_kind_are_counted(small):
    with pytest.raises(InputError) as error:
        load(TABLE.replace("2.png", "x.png").replace("5.png", "y.png"))
    assert str(error.value).startswith("t.csv: row 3: x.png: no such file")
    assert str(error.value).endswith(" (2 such rows)")


def test_a_label_that_differs_in_every_row(small):
    with pytest.raises(InputError) as error:
        load(TABLE, Reading({"label": "subject"}))
    assert str(error.value) == (
        "t.csv: column 'subject' has another value in each of 6 rows, so it is no label; choose "
        "one with --columns=label=NAME"
    )


def test_a_patient_in_two_splits(small):
    text = TABLE.replace("p5", "p1")
    with pytest.raises(InputError) as error:
        load(text, Reading(training=True))
    assert str(error.value) == (
        "t.csv: row 2 (train) and row 6 (test) are of one patient (1 patient(s) are in several "
        "splits); split by patient, or give --allow_patient_overlap"
    )
    for reading in (None, Reading(training=True, allow_patient_overlap=True)):
        assert load(text, reading).notes[1:] == ("1 patient(s) in several splits",)
    assert load(TABLE, Reading(training=True)).notes[1:] == ()


def test_a_split_column_that_is_not_used(small):
    dataset = load(TABLE, Reading({"split": "", "patient": "", "label": "site"}))
    assert dataset.notes == ("columns: path=file, label=site",)
    assert (dataset.drawn, dataset.classes) == (("test", "val"), ("a", "b"))
    assert list(dataset.records[0].factors) == ["class", "set", "subject"]


def test_a_test_split_alone(small):
    text = "file,class,set\n5.png,sick,test\n6.png,well,test\n"
    assert [record.split for record in load(text).records] == ["test", "test"]
    with pytest.raises(InputError, match="table: no training images; it can be evaluated and"):
        load(text, Reading(training=True))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.xlsx", b"PK", "--data_dir=t.xlsx: not a table; give a file that ends in .csv, .tsv, "),
        ("folder.csv", None, "--data_dir=folder.csv: not a table; give a file"),
        ("t.csv", b"", "t.csv: can't be read as a table (empty)"),
        ("t.csv", b"\xff\xfe", "t.csv: can't be read as a table ('utf-8' codec can't decode"),
        ("t.csv", b'file,class\n"1.png,sick\n', "t.csv: can't be read as a table (unexpected end"),
        ("t.csv", b"file,class\n", "t.csv: column 'class' has 0 class(es); two are needed"),
    ],
)
def test_files_that_are_no_tables(small, name, content, message):
    (small / name).write_bytes(content) if content is not None else (small / name).mkdir()
    with pytest.raises(InputError) as error:
        load_dataset("table", name)
    assert str(error.value).startswith(message)


def test_columns_are_parsed():
    assert parse_columns("path=Image Index, label = a=b,split=") == {
        **{"path": "Image Index", "label": "a=b"},
        "split": "",
    }
    assert parse_columns('"path=last, first",label=x') == {"path": "last, first", "label": "x"}
    for text in ("path", "path=a,path=b"):
        with pytest.raises(InputError, match=f"--columns={text}: give ROLE=COLUMN,ROLE=COLUMN"):
            parse_columns(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"file": "x"}}, "--columns=file=...: choose from path, label, split, patient"),
        ({"patient_pattern": "(("}, "--patient_pattern=((: no regular expression (missing ), "),
        ({"patient_pattern": "p[0-9]"}, "--patient_pattern=p[0-9]: put the patient into parenth"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(InputError) as error:
        Reading(**options)
    assert str(error.value).startswith(message)


def test_a_column_that_is_not_there(small):
    with pytest.raises(InputError) as error:
        load(TABLE, Reading({"label": "Findng"}))
    assert str(error.value) == (
        "--columns=label=Findng: t.csv has no such column, but file, class, set, subject, site"
    )
