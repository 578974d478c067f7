"""Data sets of DICOM files: patients, factors, frames, and no identifier in what is shown."""

import collections
import csv
import os
import pathlib
import re
import unicodedata

import numpy as np
import pytest
import tensorflow as tf

from covid_lm.data import dicom, load_dataset
from covid_lm.data.dicom_pixels import frame_as_png
from covid_lm.data.identifiers import Identifiers
from covid_lm.data.reading import Reading
from covid_lm.data.records import ImageDataset
from covid_lm.data.splits_file import write_splits
from covid_lm.data.windows import parse_window
from covid_lm.errors import InputError, UnusableFile
from tests.conftest import encode, random_picture
from tests.data.dicom_files import write_dicom

SURNAMES = ("Ahlgren", "Bouvier", "Czerny", "Dvorak", "Eriksen", "Ferrara", "Grimaldi", "Horvat")
IDENTIFIER = re.compile("|".join([*SURNAMES, "jane", r"mrn-?55\d\d"]), re.IGNORECASE)


def draw(root: pathlib.Path, frames: int = 0) -> pathlib.Path:
    """Three images each of eight patients in two classes, whose names are in tags and paths."""
    generator = np.random.default_rng(0)
    for number, surname in enumerate(SURNAMES):
        for image in range(3):
            shape = (frames, 20, 24) if frames else (20, 24)
            level = 300 if number % 2 else -600
            pixels = generator.integers(level - 100, level + 100, shape).astype(np.int16)
            name = f"{surname}_JANE/MRN55{number:02}-{image}.dcm"
            write_dicom(
                root / ("sick" if number % 2 else "well") / name,
                pixels,
                PatientName=f"{surname}^Jane",
                PatientID=f"MRN-55{number:02}",
                SeriesInstanceUID=f"1.2.{number}.{image // 2}",
                Manufacturer=("Siemens", "GE")[number % 2],
                StudyDate="20200102",
                RescaleSlope=1,
                RescaleIntercept=0,
            )
    return root


@pytest.fixture(scope="module")
def dicom_folder(tmp_path_factory) -> str:
    return str(draw(tmp_path_factory.mktemp("dicom")))


def texts(dataset: ImageDataset) -> str:
    """Text of a data set with everything that may be shown."""
    return repr((dataset.notes, dataset.records, [dataset.path_below(r) for r in dataset.records]))


def test_a_folder_of_dicom_files(dicom_folder):
    dataset = load_dataset("folder", dicom_folder, Reading(window="lung", training=True))
    assert [len(dataset.split(split)) for split in ("train", "val", "test")] == [12, 6, 6]
    assert len({record.patient for record in dataset.records}) == 8
    for record in dataset.records:
        assert record.factors["Manufacturer"] == ("GE" if record.label == 0 else "Siemens")
        assert record.factors["StudyYear"] == "2020"
        content = pathlib.Path(record.source).read_bytes()
        assert record.read() == frame_as_png(content, None, parse_window("lung"))
    series = [record.factors["SeriesInstanceUID"] for record in dataset.records]
    assert sorted(set(series)) == [f"{n:02}" for n in range(1, 17)]
    assert not IDENTIFIER.search(texts(dataset))
    first = dataset.records[0]
    assert dataset.path_below(first) == "sick/patient-2/patient-2-0.dcm"
    assert first.filename == "xxxxxxx-0.dcm"


def test_a_patient_in_two_splits_is_found_by_the_tags(tmp_path):
    for split in ("train", "test"):
        draw(tmp_path / split)
    with pytest.raises(InputError, match=r"are of one patient \(8 patient\(s\) are in") as error:
        load_dataset("folder", str(tmp_path), Reading(training=True))
    assert not IDENTIFIER.search(str(error.value))


def test_all_frames_are_records_of_the_patient(tmp_path):
    root = draw(tmp_path, frames=3)
    middle = load_dataset("folder", str(root))
    dataset = load_dataset("folder", str(root), Reading(frames="all"))
    assert (len(middle.records), len(dataset.records)) == (24, 72)
    assert [r.read() for r in dataset.records[1::3]] == [r.read() for r in middle.records]
    assert [r.patient for r in dataset.records[::3]] == [r.patient for r in middle.records]
    assert dataset.path_below(dataset.records[4]) == "sick/patient-2/patient-2-1.dcm!2"
    write_splits(str(tmp_path / "splits.csv"), dataset)
    again = load_dataset("table", str(tmp_path / "splits.csv"), Reading(image_root=str(root)))
    assert [r.read() for r in again.records] == [r.read() for r in dataset.records]


def test_a_patient_in_two_splits_is_found_by_the_row_of_a_file_of_frames(tmp_path):
    for number in range(8):
        frames = np.full((4, 5, 6), number, np.uint8)
        write_dicom(tmp_path / f"{number}.dcm", frames, PatientID=f"Doe {number // 3}")
    lines = [f"{n}.dcm,{'ab'[n % 2]},{('train', 'test')[n == 5]}" for n in range(8)]
    (tmp_path / "t.csv").write_text("\n".join(["path,label,split", *lines]))
    with pytest.raises(InputError) as error:
        load_dataset("table", str(tmp_path / "t.csv"), Reading(frames="all", training=True))
    assert "t.csv: row 5 (train) and row 7 (test) are of one patient (1 pat" in str(error.value)


def test_frames_of_a_file_without_a_patient_stay_together(tmp_path):
    for number in range(8):
        frames = np.full((4, 5, 6), number, np.uint8)
        write_dicom(tmp_path / "ab"[number % 2] / f"{number}.dcm", frames)
    dataset = load_dataset("folder", str(tmp_path), Reading(frames="all"))
    counts = collections.Counter(record.patient for record in dataset.records)
    assert counts == {str(n): 4 for n in range(1, 9)}
    assert {r.patient for r in dataset.split("test")}.isdisjoint(
        r.patient for r in dataset.split("train", "val")
    )


def write_table(folder: str, path: pathlib.Path, patients: bool) -> str:
    lines = ["image,label,Patient Name,comment,sex" + ",patient" * patients]
    for name in ("sick", "well"):
        for place, _, files in sorted(os.walk(os.path.join(folder, name))):
            for file in sorted(files):
                surname = os.path.basename(place).split("_")[0]
                image = os.path.relpath(os.path.join(place, file), folder)
                row = [image, name, f"{surname} Jane", f"see {surname.upper()}", "F"]
                lines.append(",".join([*row, *(["Patient " + surname] * patients)]))
    path.write_text("\n".join(lines))
    return str(path)


@pytest.mark.parametrize("patients", [False, True])
def test_a_table_of_dicom_files_and_the_table_of_its_run(dicom_folder, tmp_path, patients):
    table = write_table(dicom_folder, tmp_path / "labels.csv", patients)
    reading = Reading(image_root=dicom_folder, window="40,400")
    dataset = load_dataset("table", table, reading)
    assert len({record.patient for record in dataset.records}) == 8
    assert dataset.notes[1] == "not kept, since they identify patients: Patient Name"
    assert dataset.records[0].factors["comment"] == "see patient-2"
    assert dataset.records[0].factors["Manufacturer"] == "GE"
    assert not IDENTIFIER.search(texts(dataset))
    splits = str(tmp_path / "splits.csv")
    write_splits(splits, dataset)
    assert not IDENTIFIER.search(pathlib.Path(splits).read_text())
    again = load_dataset("table", splits, reading)
    assert [(r.label, r.split, r.patient, r.read()) for r in again.records] == [
        (r.label, r.split, r.patient, r.read()) for r in dataset.records
    ]
    assert not IDENTIFIER.search(texts(again))
    with open(splits, newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0][:5] == ["path", "label", "split", "patient", "sha256"]
    assert len(rows[1][4]) == 64
    os.makedirs(tmp_path / "empty")
    with pytest.raises(InputError, match=r"row 2: sick/patient-2/.*: no such file below"):
        load_dataset("table", splits, Reading(image_root=str(tmp_path / "empty")))


def test_a_table_may_say_that_there_are_no_patients(dicom_folder, tmp_path):
    table = write_table(dicom_folder, tmp_path / "labels.csv", patients=True)
    reading = Reading({"patient": ""}, image_root=dicom_folder)
    dataset = load_dataset("table", table, reading)
    assert {record.patient for record in dataset.records} == {None}
    assert not IDENTIFIER.search(texts(dataset))


def test_folders_of_patients_named_by_a_pattern(tmp_path):
    for number, surname in enumerate(SURNAMES):
        folder = tmp_path / "ab"[number % 2] / surname
        folder.mkdir(parents=True)
        for image in range(2):
            (folder / f"{surname.lower()}-{image}.png").write_bytes(
                encode(random_picture(8, 8, 2 * number + image))
            )
    dataset = load_dataset("folder", str(tmp_path), Reading(patient_pattern=r"^\w/(\w+)/"))
    assert dataset.path_below(dataset.records[0]) == "a/patient-1/patient-1-0.png"
    assert not IDENTIFIER.search(texts(dataset))
    write_splits(str(tmp_path / "splits.csv"), dataset)
    again = load_dataset("table", str(tmp_path / "splits.csv"))
    assert [(r.read(), r.split, r.patient) for r in again.records] == [
        (r.read(), r.split, r.patient) for r in dataset.records
    ]


def test_the_images_for_pretraining(dicom_folder):
    dataset = load_dataset("images", dicom_folder, Reading(window="bone"))
    assert len(dataset.records) == 24
    assert {r.patient for r in dataset.split("val")}.isdisjoint(
        r.patient for r in dataset.split("train")
    )
    assert dataset.records[0].read()[:4] == b"\x89PNG"
    assert not IDENTIFIER.search(texts(dataset))


def test_dicom_files_in_a_store(dicom_folder):
    store = "ram://dicom_store"
    for place, _, names in os.walk(dicom_folder):
        for name in names:
            target = os.path.join(store, os.path.relpath(os.path.join(place, name), dicom_folder))
            tf.io.gfile.makedirs(os.path.dirname(target))
            tf.io.gfile.copy(os.path.join(place, name), target, overwrite=True)
    dataset = load_dataset("folder", store, Reading(window="lung"))
    expected = load_dataset("folder", dicom_folder, Reading(window="lung"))
    assert facts(dataset) == facts(expected)
    table = os.path.join(store, "splits.csv")
    write_splits(table, dataset)
    again = load_dataset("table", table, Reading(window="lung"))
    assert [fact[1:] for fact in facts(again)] == [fact[1:] for fact in facts(expected)]


def facts(dataset: ImageDataset) -> list[tuple]:
    return [
        (dataset.path_below(r), r.label, r.split, r.patient, dict(r.factors), r.read())
        for r in dataset.records
    ]


def test_without_pydicom_a_folder_of_dicom_files_is_one_line(dicom_folder, monkeypatch):
    monkeypatch.setattr(dicom, "available", lambda: False)
    for name in ("folder", "images"):
        with pytest.raises(InputError) as error:
            load_dataset(name, dicom_folder)
        assert str(error.value) == (
            f"{dicom_folder}: holds DICOM, which needs pip install 'covid_lm[dicom]'"
        )


def test_without_pydicom_a_table_of_dicom_files_is_one_line(dicom_folder, tmp_path, monkeypatch):
    table = write_table(dicom_folder, tmp_path / "labels.csv", patients=True)
    monkeypatch.setattr(dicom, "available", lambda: False)
    with pytest.raises(InputError, match=r"\.dcm: DICOM, which needs pip install 'covid_lm\[dicom"):
        load_dataset("table", table, Reading(image_root=dicom_folder))


def test_a_damaged_file_is_an_image_that_cannot_be_decoded(tmp_path):
    root = draw(tmp_path)
    path = next(root.glob("sick/*/*-0.dcm"))
    path.write_bytes(path.read_bytes()[:-50])
    (root / "sick" / "DICOMDIR").write_bytes(bytes(128) + b"DICM" + bytes(100))
    dataset = load_dataset("folder", str(root))
    assert dataset.notes == ("skipped: 1 DICOM without an image (the first: sick/DICOMDIR)",)
    with pytest.raises(UnusableFile, match="damaged DICOM"):
        [record.read() for record in dataset.records]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a/DOE_JANE/1.png", "a/patient-3/1.png"),
        ("a/jane.doe-1.png", "a/patient-3-1.png"),
        ("a/doejane/Jane.png", "a/patient-3/patient-3.png"),
        ("a/doe/jane", "a/patient-3/patient-3"),
        ("a/x98765y.png", "a/x98765y.png"),
        ("covid/17.png", "covid/17.png"),
        ("a/987-65.png", "a/patient-3.png"),
        ("a/98/765.png", "a/98/765.png"),
        ("a/mrn_55.png", "a/patient-3.png"),
        ("Lüdér.png", "patient-3.png"),
        (unicodedata.normalize("NFD", "b/Lüdér"), "b/patient-3"),
        ("luder2.png", "luder2.png"),
        ("a/luder/x", "a/patient-3/x"),
        ("a/JANETTE.png", "a/JANETTE.png"),
    ],
)
def test_identifiers(text, shown):
    identifiers = Identifiers(["covid", "non covid"])
    identifiers.add(["98765", "17", "COVID", "MRN55"], "3", ["Doe^Jane", "covid^", "Lüdér"])
    identifiers.add(["Jane Roe"], "4")
    assert identifiers.replace(text) == shown
    crossed = identifiers.replace(text, crosses=True)
    assert len(crossed) == len(unicodedata.normalize("NFC", text))


def test_a_patient_s_own_identifiers_are_found_within_words():
    identifiers = Identifiers()
    identifiers.add(["98765"], "3", ["Doe^Jane"])
    identifiers.add([], "4", ["Roe^Jane"])
    assert identifiers.replace("a/x98765y.png", "3") == "a/xpatient-3y.png"
    assert identifiers.replace("a/x98765y.png", "4") == "a/x98765y.png"
    assert identifiers.replace("janedoe98765", "3") == "patient-3patient-3"
    assert identifiers.replace("see Jane", "4") == "see patient-4"
    assert (
        identifiers.replace("see Jane", "3") == identifiers.replace("see Jane") == "see patient-3"
    )
