import collections
import pathlib
import zipfile

import pytest

from covid_lm.data.covid_ct import CLASSES, METADATA, covid_ct
from covid_lm.errors import InputError


@pytest.fixture
def small_copy(tmp_path) -> pathlib.Path:
    """COVID-CT's layout with one tiny file per class and split."""
    for class_name, (metadata, image_column, patient_column) in METADATA.items():
        archive = tmp_path / "Images-processed" / f"CT_{class_name}.zip"
        archive.parent.mkdir(exist_ok=True)
        lists = tmp_path / "Data-split" / class_name
        lists.mkdir(parents=True)
        rows = [f"{image_column},{patient_column}"]
        with zipfile.ZipFile(archive, "w") as file:
            for split in ("train", "val", "test"):
                name = f"{split} 1%0, a.png"
                file.writestr(f"CT_{class_name}/{name}", f"{class_name} {split}")
                (lists / f"{split}CT_{class_name}.txt").write_text(f"{name}\n")
                rows.append(f'"{name}",Patient 7')
        (tmp_path / metadata).write_text("\n".join(rows))
    return tmp_path


def test_reads_the_layout(small_copy):
    dataset = covid_ct(str(small_copy))
    assert dataset.classes == ("NonCOVID", "COVID")
    assert [(r.split, r.label) for r in dataset.split("test")] == [("test", 0), ("test", 1)]
    record = dataset.split("val")[1]
    assert record.filename == "val 1%0, a.png"
    assert record.read() == b"COVID val"
    assert record.patient == "COVID Patient 7"
    assert record.path.endswith("CT_COVID.zip!CT_COVID/val 1%0, a.png")


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
