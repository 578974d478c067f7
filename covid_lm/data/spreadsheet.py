"""Reading of a spreadsheet's first sheet (.xlsx, Office Open XML) as text."""

import re
import xml.etree.ElementTree as ElementTree

from covid_lm.data.archives import zip_members
from covid_lm.errors import InputError, UnusableFile
from covid_lm.files import CONFIG_BYTES

_NAMESPACE = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def sheet_rows(path: str) -> list[dict[str, str]]:
    """The rows below the first one, each a dict from the first row's texts to the row's own.

    An empty cell is "". Formulas and formats are ignored.

    Raises:
        FileNotFoundError: no such file.
        InputError: not a spreadsheet, damaged, or larger than 16 MiB.
    """
    members = zip_members(path)
    try:
        texts = [
            "".join(part.text or "" for part in item.iter(f"{_NAMESPACE}t"))
            for item in _document(members["xl/sharedStrings.xml"]())
        ]
        sheet = _document(members["xl/worksheets/sheet1.xml"]())
        header, *rows = [_cells(row, texts) for row in sheet.iter(f"{_NAMESPACE}row")]
    except (KeyError, IndexError, ValueError, ElementTree.ParseError) as error:
        if isinstance(error, InputError):
            raise
        raise UnusableFile(path, "not a spreadsheet, or damaged; fetch it again") from None
    return [{name: row.get(column, "") for column, name in header.items()} for row in rows]


def _document(content: bytes) -> ElementTree.Element:
    # A document type may define texts that grow without bound; no spreadsheet has one.
    if len(content) > CONFIG_BYTES or b"<!DOCTYPE" in content:
        raise ValueError
    return ElementTree.fromstring(content)


def _cells(row: ElementTree.Element, texts: list[str]) -> dict[str, str]:
    """The row's texts by the letters of their columns."""
    cells = {}
    for cell in row.iter(f"{_NAMESPACE}c"):
        value = cell.findtext(f"{_NAMESPACE}v")
        column = re.match("[A-Z]+", cell.get("r", ""))
        if value is not None and column is not None:
            cells[column[0]] = texts[int(value)] if cell.get("t") == "s" else value
    return cells
