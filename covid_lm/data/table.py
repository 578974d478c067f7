"""Tables of images: a row per image with its label and, if known, split, patient and other facts.

A table is a file (.csv, .tsv, .parquet) or a pandas DataFrame. `splits.csv` of a finished run
(`covid_lm/data/splits_file.py`) is a table, too.
"""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence

import pandas as pd

from covid_lm.data.conversion import DEFAULT, Conversion
from covid_lm.data.dicom_frames import find_headers
from covid_lm.data.file_records import ImageFile, file_records
from covid_lm.data.identifiers import without_identifiers
from covid_lm.data.reading import ROLES
from covid_lm.data.records import SPLIT_NAMES, ImageDataset
from covid_lm.data.splits import draw_missing_splits, refuse_patient_overlap
from covid_lm.data.splits_file import NUMBER, ordered_classes
from covid_lm.data.table_columns import (
    count_known,
    factor_names,
    find_columns,
    other_columns,
)
from covid_lm.data.table_rows import PathCells, image_paths, refuse_rows
from covid_lm.errors import InputError, reason, visible
from covid_lm.files import is_directory, read_bytes

SEPARATORS = {".csv": ",", ".tsv": "\t", ".parquet": ""}
FIRST_ROW = 2  # of a file, as spreadsheets count


def read_table(
    path: str,
    columns: Mapping[str, str] | None = None,
    image_root: str | None = None,
    allow_patient_overlap: bool = True,
    conversion: Conversion = DEFAULT,
) -> ImageDataset:
    """Reads a table from a file; see `table_dataset`.

    Args:
        image_root: folder that the paths are relative to; the table's own by default.
    """
    root = image_root or os.path.dirname(path) or "."
    return table_dataset(
        _read_frame(path),
        root,
        columns,
        allow_patient_overlap,
        path,
        first_row=FIRST_ROW,
        conversion=conversion,
    )


def table_dataset(
    frame: pd.DataFrame,
    image_root: str = ".",
    columns: Mapping[str, str] | None = None,
    allow_patient_overlap: bool = True,
    name: str = "table",
    first_row: int = 0,
    seed: int = 0,
    conversion: Conversion = DEFAULT,
) -> ImageDataset:
    """Makes a data set of a table's rows, in their order.

    Columns that have no role are the records' `factors`, except `PRIVATE_COLUMNS`. Patients become
    numbers. Missing splits are drawn by `draw_missing_splits`.

    Args:
        frame: columns of any type; a missing value is an empty text.
        image_root: folder that the paths are relative to, and that holds all images.
        columns: role (see `ROLES`) to column; "" for none. By default columns are found by
            `ALIASES`.
        allow_patient_overlap: accept a patient with images in several splits.
        name: of the table, for messages.
        first_row: number of the first row, for messages.
        conversion: of the files.

    Raises:
        InputError: an unknown column, a row that can't be used (named by its number), or labels
            that are no classes.
    """
    texts = _text_frame(frame, first_row, name)
    found = find_columns(name, list(texts.columns), columns or {})
    roles = {role: texts[column].tolist() for role, column in found.items()}
    rows = [f"row {number}" for number in texts.index]
    numbers = texts[NUMBER].tolist() if NUMBER in texts else []
    labels, classes = _labels(name, found["label"], roles["label"], rows, numbers)
    splits = _splits(name, found.get("split"), roles.get("split"), rows)
    cells = PathCells.of(texts, found["path"])
    paths, hidden = image_paths(name, cells, image_root, rows)
    kept, private = other_columns([c for c in texts if c not in found.values()])
    factors = texts[kept].rename(columns=factor_names(kept)).map(visible).to_dict("records")
    patients = roles.get("patient", [""] * len(texts))
    files = list(map(ImageFile, paths, labels, splits, patients, factors))
    for row, (shown_path, filename) in hidden.items():
        files[row] = files[row]._replace(shown=shown_path, filename=filename)
    told = (columns or {}).get("patient") != ""
    records, identifiers = file_records(files, find_headers(paths), classes, conversion, told)
    notes = ["columns: " + ", ".join(f"{role}={column}" for role, column in found.items())]
    if private:
        notes.append(f"not kept, since they identify patients: {', '.join(private)}")
    row_of = {file.shown or file.path: row for file, row in zip(files, rows, strict=True)}

    def place(record: int) -> str:
        path = records[record].path  # of a file, or of one of its frames
        return row_of.get(path) or row_of[path.rpartition("!")[0]]

    notes += refuse_patient_overlap(records, name, place, allow_patient_overlap)
    records, drawn = draw_missing_splits(records, seed)
    records = without_identifiers(records, identifiers, image_root)
    shown = tuple(visible(note) for note in notes)
    return ImageDataset("table", classes, records, image_root, shown, drawn).check()


def table_images(
    path: str, columns: Mapping[str, str] | None = None, image_root: str | None = None
) -> list[str]:
    """The paths of a table's images, in the order of its rows, whose labels aren't needed.

    Args:
        path, columns, image_root: see `read_table`.

    Raises:
        InputError: no column of paths, or a row whose path is empty, absent, or in another row.
    """
    texts = _text_frame(_read_frame(path), FIRST_ROW, path)
    column = find_columns(path, list(texts.columns), columns or {}, ROLES[:1])["path"]
    root = image_root or os.path.dirname(path) or "."
    rows = [f"row {number}" for number in texts.index]
    return image_paths(path, PathCells.of(texts, column), root, rows)[0]


def _read_frame(path: str) -> pd.DataFrame:
    extension = os.path.splitext(path)[1].lower()
    if is_directory(path) or extension not in SEPARATORS:
        raise InputError(
            f"--data_dir={path}: not a table; give a file that ends in {', '.join(SEPARATORS)}"
        )
    content = read_bytes(path)
    try:
        if extension == ".parquet":
            # Integers with missing values would otherwise become floats, and long ones be rounded.
            return pd.read_parquet(io.BytesIO(content), dtype_backend="numpy_nullable")
        text = content.decode("utf-8-sig")
        separator = SEPARATORS[extension]
        if separator == ",":
            separator = _separator(text)
        return _frame(list(_lines(text, separator)))
    except ImportError:
        needed = "pip install 'covid_lm[parquet]'"
        raise InputError(f"{path}: needs {needed}; or give a .csv file") from None
    except (ValueError, OSError, csv.Error) as error:
        raise InputError(f"{path}: can't be read as a table ({reason(error)})") from None


def _lines(text: str, separator: str, strict: bool = True) -> Iterator[list[str]]:
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=strict)


def _separator(text: str) -> str:
    """A comma, or a semicolon, as spreadsheets write where the comma is the decimal point.

    The one by which the header has more of the known names, or else more names.
    """
    headers = {separator: next(_lines(text, separator, False), []) for separator in ",;"}
    return max(headers, key=lambda s: (count_known(headers[s]), len(headers[s])))


def _frame(lines: Sequence[list[str]]) -> pd.DataFrame:
    if not lines:
        raise ValueError("empty")
    header = [name.strip() for name in lines[0]]
    for number, line in enumerate(lines, 1):
        if len(line) > len(header) and any(line[len(header) :]):
            raise ValueError(f"row {number} has {len(line)} cells, the header {len(header)}")
    cells = [(line + [""] * len(header))[: len(header)] for line in lines[1:]]
    return pd.DataFrame(cells, columns=header, dtype=object)


def _text_frame(frame: pd.DataFrame, first_row: int, name: str) -> pd.DataFrame:
    """All values as text, without empty rows; the index is the number of the row."""
    names = [str(column).strip() for column in frame.columns]
    twice = [column for place, column in enumerate(names) if column in names[:place]]
    if twice:
        raise InputError(f"{visible(name)}: two columns {visible(twice[0])!r}; rename one of them")
    columns = (frame.iloc[:, place] for place in range(len(names)))
    texts = pd.DataFrame(dict(zip(names, map(_texts, columns), strict=True)), dtype=object)
    texts.index = pd.RangeIndex(first_row, first_row + len(texts))
    return texts[(texts != "").any(axis=1)]


def _texts(column: pd.Series) -> list[str]:
    """The values as text: a missing one is empty, and a whole number has no decimal point."""
    values = column.astype(object).where(column.notna(), "")
    if pd.api.types.is_float_dtype(column):
        values = values.map(lambda v: int(v) if v != "" and float(v).is_integer() else v)
    return [str(value).strip() for value in values]


def _labels(
    name: str, column: str, labels: Sequence[str], rows: Sequence[str], numbers: Sequence[str]
) -> tuple[list[int], tuple[str, ...]]:
    """Each row's label as a number, and the classes."""
    empty = f"no label in column {column!r}; add it or remove the row"
    refuse_rows(name, rows, ((row, empty) for row, label in enumerate(labels) if not label))
    distinct = {*labels}
    if len(distinct) == len(labels) > 2:
        raise InputError(
            f"{name}: column {column!r} has another value in each of {len(labels)} rows, so it is "
            "no label; choose one with --columns=label=NAME"
        )
    if len(distinct) < 2:
        raise InputError(f"{name}: column {column!r} has {len(distinct)} class(es); two are needed")
    classes = ordered_classes(labels, numbers)
    places = {label: place for place, label in enumerate(classes)}
    return [places[label] for label in labels], tuple(classes)


def _splits(
    name: str, column: str | None, values: Sequence[str] | None, rows: Sequence[str]
) -> list[str]:
    if values is None:
        return ["train"] * len(rows)
    splits = [SPLIT_NAMES.get(value.lower(), "") for value in values]
    hint = "is none of train, val, test; --columns=split= draws the splits"
    problems = (
        (row, f"{values[row]!r} in column {column!r} {hint}")
        for row, split in enumerate(splits)
        if not split
    )
    refuse_rows(name, rows, problems)
    return splits
