import collections
import os
import pathlib
import zipfile

import pytest

from covid_lm.data.covid_ct import CLASSES, _read_patients, covid_ct
from covid_lm.errors import InputError


def test_reads_the_layout(small_copy):
    dataset = covid_ct(str(small_copy))
    assert dataset.classes == ("NonCOVID", "COVID")
    assert [(r.split, r.label) for r in dataset.split("test")] == [("test", 0), ("test", 1)]
    record = dataset.split("val")[1]
    assert record.filename == "val 1%0, a.png"
    assert record.read() == b"COVID val"
    assert record.patient == "COVID Patient 7"
    assert record.path.endswith("CT_COVID.zip!CT_COVID/val 1%0, a.png")


def spreadsheet(path: pathlib.Path, rows: list[list[str]], first: str = "") -> None:
    """Writes texts as a spreadsheet of two columns; "" is no cell."""
    texts = sorted({text for row in rows for text in row})
    cells = [
        f'<c r="{column}{number}" t="s"><v>{texts.index(text)}</v></c>' if text else ""
        for number, row in enumerate(rows, 1)
        for column, text in zip("AB", row, strict=True)
    ]
    start = f'<?xml version="1.0"?>{first}'
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    shared = "".join(f"<si><t>{text}</t></si>" for text in texts)
    sheet = "".join(f"<row>{a}{b}</row>" for a, b in zip(cells[::2], cells[1::2], strict=True))
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("xl/sharedStrings.xml", f"{start}<sst {space}>{shared}</sst>")
        body = f"<worksheet {space}><sheetData>{sheet}</sheetData></worksheet>"
        file.writestr("xl/worksheets/sheet1.xml", f"{start}{body}")


def test_patients_from_the_spreadsheet(small_copy):
    (small_copy / "COVID-CT-MetaInfo.csv").unlink()
    path = small_copy / "COVID-CT-MetaInfo.xlsx"
    rows = [["File name", "Patient ID"], ["train 1%0, a", "Patient 3"], ["val 1%0, a.png", "P4"]]
    spreadsheet(path, [*rows, ["", ""], ["test 1%0, a.png", ""]])
    patients = {r.split: r.patient for r in covid_ct(str(small_copy)).records if r.label}
    assert patients == {"train": "COVID Patient 3", "val": "COVID P4", "test": "COVID "}
    for content in (b"", b"PK"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"MetaInfo.xlsx: not a zip"):
            covid_ct(str(small_copy))
    spreadsheet(path, rows, '<!DOCTYPE sst [<!ENTITY a "a">]>')
    with pytest.raises(InputError, match=r"MetaInfo.xlsx: not a spreadsheet, or damaged"):
        covid_ct(str(small_copy))
    spreadsheet(path, [["File name", "Case"], ["a", "b"]])
    with pytest.raises(InputError, match=r"MetaInfo.xlsx: no column 'Patient ID'"):
        covid_ct(str(small_copy))


def test_the_published_spreadsheet_has_the_same_patients(covid_ct_dir):
    path = os.path.join(covid_ct_dir, "COVID-CT-MetaInfo")
    found, expected = (_read_patients(f"{path}.{kind}", "COVID") for kind in ("xlsx", "csv"))
    same = {name: found.get(name) or found.get(name.removesuffix(".png")) for name in expected}
    assert len(expected) == 349
    assert same == expected


def test_a_split_list_with_a_missing_image(small_copy):
    path = small_copy / "Data-split" / "COVID" / "valCT_COVID.txt"
    path.write_text("gone.png\n")
    with pytest.raises(InputError, match=r"valCT_COVID.txt: names 'gone.png', which .*zip does"):
        covid_ct(str(small_copy))


@pytest.mark.parametrize(
    "name",
    ["Images-processed/CT_COVID.zip", "Data-split/COVID/testCT_COVID.txt", "COVID-CT-MetaInfo.csv"],
)
def test_each_missing_file_is_reported(small_copy, name):
    (small_copy / name).unlink()
    with pytest.raises(InputError, match=f"{name}: no such"):
        covid_ct(str(small_copy))


def test_damaged_archive(small_copy):
    (small_copy / "Images-processed" / "CT_COVID.zip").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(InputError, match=r"CT_COVID.zip: not a zip, or cut short"):
        covid_ct(str(small_copy))


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("Data-split/COVID/testCT_COVID.txt", b"\xff\xfe", "not UTF-8"),
        ("COVID-CT-MetaInfo.csv", b"File name,Patient ID\n\xe9,1", "not UTF-8"),
        (
            "COVID-CT-MetaInfo.csv",
            b"File name,Patient ID\n" + b"9" * 10**6,
            "damaged (field larger",
        ),
    ],
)
def test_damaged_lists(small_copy, name, content, problem):
    (small_copy / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        covid_ct(str(small_copy))
    assert str(error.value).startswith(f"{small_copy / name}: {problem}")


def test_the_published_data(covid_ct_dir):
    dataset = covid_ct(covid_ct_dir)
    counts = collections.Counter((r.split, CLASSES[r.label]) for r in dataset.records)
    assert counts == {
        ("train", "COVID"): 191,
        ("train", "NonCOVID"): 234,
        ("val", "COVID"): 60,
        ("val", "NonCOVID"): 58,
        ("test", "COVID"): 98,
        ("test", "NonCOVID"): 105,
    }
    assert len({r.patient for r in dataset.split("test")}) == 95
    name_lengths = {CLASSES[k]: [] for k in (0, 1)}
    for record in dataset.split("test"):
        name_lengths[CLASSES[record.label]].append(len(record.filename))
    assert max(name_lengths["NonCOVID"]) <= 12 < min(name_lengths["COVID"])


@pytest.mark.parametrize(
    "name",
    ["Images-processed/CT_COVID.zip", "Data-split/COVID/testCT_COVID.txt", "COVID-CT-MetaInfo.csv"],
)
def test_links_out_of_the_folder_are_refused(small_copy, tmp_path_factory, name):
    moved = (small_copy / name).rename(tmp_path_factory.mktemp("elsewhere") / "file")
    (small_copy / name).symlink_to(moved)
    with pytest.raises(InputError, match=f"{name}: a link out of {small_copy}; put the file"):
        covid_ct(str(small_copy))


def test_a_zip_whose_names_lead_out(small_copy):
    with zipfile.ZipFile(small_copy / "Images-processed" / "CT_COVID.zip", "a") as archive:
        archive.writestr("CT_COVID/../../x.png", b"")
    with pytest.raises(
        InputError, match=r"CT_COVID.zip: holds 'CT_COVID/../../x.png', which leads"
    ):
        covid_ct(str(small_copy))
