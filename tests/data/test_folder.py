import pathlib
import re

import pytest

from covid_lm import data
from covid_lm.data import check_dataset, load_dataset
from covid_lm.data.folder import folder
from covid_lm.data.reading import Reading
from covid_lm.errors import InputError


def fill(root: pathlib.Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())


def test_given_splits_are_kept(image_folder):
    dataset = folder(image_folder)
    assert dataset.classes == ("bright", "dark")
    assert [len(dataset.split(s)) for s in ("train", "val", "test")] == [24, 8, 10]
    assert all(f"/{r.split}/" in r.path for r in dataset.records)
    assert dataset.records[0].read().startswith(b"\x89PNG")


def test_missing_splits_are_drawn_deterministically(tmp_path):
    fill(tmp_path, *(f"{c}/{n}.png" for c in "ab" for n in range(20)), "a/.hidden", "b/sub/x.png")
    dataset = folder(str(tmp_path))
    sizes = {split: len(dataset.split(split)) for split in ("train", "val", "test")}
    assert sizes == {"train": 28, "val": 5, "test": 8}
    assert len({r.path for r in dataset.records}) == 41
    assert not any(r.filename == ".hidden" for r in dataset.records)
    key = [(r.path, r.split) for r in dataset.records]
    assert key == [(r.path, r.split) for r in folder(str(tmp_path)).records]
    assert key != [(r.path, r.split) for r in folder(str(tmp_path), seed=1).records]


def test_validation_is_drawn_from_train_only(tmp_path):
    fill(tmp_path, *(f"{s}/{c}/{n}.png" for s in ("train", "test") for c in "ab" for n in range(9)))
    dataset = folder(str(tmp_path))
    assert [len(dataset.split(s)) for s in ("train", "val", "test")] == [16, 2, 18]
    assert all("/train/" in r.path for r in dataset.split("val"))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "0 class folder(s) found; one folder per class is needed"),
        (["a/1.png"], "1 class folder(s) found"),
        (["train/a/1.png", "train/b/1.png", "val/a/1.png"], "val/b: a class without images"),
        (["test/a/1.png"], "1 class folder(s) found"),
        (["val/a/1.png", "Valid/b/1.png"], "has Valid/ and val/ for one split; keep one"),
    ],
)
def test_unusable_folders(tmp_path, names, message):
    fill(tmp_path, *names)
    with pytest.raises(InputError, match=re.escape(message)):
        folder(str(tmp_path))


def test_empty_classes(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with pytest.raises(InputError, match="no images found in its class folders"):
        folder(str(tmp_path))
    fill(tmp_path, "a/1.png")
    with pytest.raises(InputError, match="b: a class without images"):
        folder(str(tmp_path))


def test_load_dataset_refuses_with_one_line(tmp_path):
    with pytest.raises(InputError, match="--dataset=folder: needs --data_dir"):
        load_dataset("folder")
    with pytest.raises(InputError, match=r"no such directory; give --data_dir"):
        load_dataset("folder", str(tmp_path / "absent"))


def test_links_out_of_the_folder_are_refused(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    names = [f"{c}/{n}.png" for c in "ab" for n in range(4)]
    fill(root, *names)
    fill(outside, "c/1.png")
    (root / "a" / "inside.png").symlink_to(root / "b" / "1.png")
    assert any(r.filename == "inside.png" for r in folder(str(root)).records)
    links = [
        ("a/9.png", "c/1.png"),
        ("c", "c"),
        ("train", ""),
        ("a/9.png", "absent"),
        ("a/more", "c"),
    ]
    for link, target in links:
        (root / link).symlink_to(outside / target)
        with pytest.raises(InputError, match=f"{root / link}: a link out of {root}; put the file"):
            folder(str(root))
        (root / link).unlink()


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("Train", "Valid", "Test"),
        ("TRAINING", "validation", "testing"),
        ("training", "dev", "tesT"),
    ],
)
def test_splits_by_other_names(tmp_path, train, val, test):
    counts = {train: 3, val: 2, test: 1}
    fill(
        tmp_path,
        *(f"{s}/{c}/{n}.png" for s, size in counts.items() for c in "ab" for n in range(size)),
    )
    dataset = folder(str(tmp_path))
    assert [len(dataset.split(s)) for s in ("train", "val", "test")] == [6, 4, 2]
    assert (dataset.classes, dataset.drawn, dataset.notes) == (("a", "b"), (), ())


def test_a_test_split_alone_is_kept_as_it_is(tmp_path):
    fill(tmp_path, *(f"Testing/{c}/{n}.png" for c in "ab" for n in range(3)))
    dataset = folder(str(tmp_path))
    assert (len(dataset.split("test")), len(dataset.records), dataset.drawn) == (6, 6, ())


def test_one_wrapping_folder_is_entered(tmp_path):
    inner = [f"{s}/{c}/{n}.png" for s in ("train", "test") for c in "ab" for n in range(4)]
    fill(tmp_path, *(f"archive/my scans/{name}" for name in inner))
    fill(tmp_path, "__MACOSX/archive/._x.png", "._archive", "about.txt")
    for data_dir in (str(tmp_path), f"{tmp_path}/"):
        dataset = folder(data_dir)
        assert [len(dataset.split(s)) for s in ("train", "val", "test")] == [6, 2, 8]
        assert dataset.notes == (
            "entered: archive/my scans/, the only folder",
            "skipped: 1 TXT (the first: about.txt)",
        )
    fill(tmp_path, "second/x.png")
    assert folder(str(tmp_path)).classes == ("archive", "second")


def test_images_outside_the_class_folders_are_counted(tmp_path):
    fill(tmp_path, *(f"{s}/{c}/{n}.png" for s in ("train", "test") for c in "ab" for n in range(4)))
    fill(tmp_path, "x.png", "train/y.png", "more/a/z.png")
    dataset = folder(str(tmp_path))
    assert len(dataset.records) == 16
    assert dataset.notes == (
        "skipped: 3 image outside the class folders (the first: more/a/z.png)",
    )


def patients(dataset, *splits: str) -> set[str]:
    return {record.patient for record in dataset.split(*splits)}


def test_patients_by_a_pattern(tmp_path):
    fill(
        tmp_path, *(f"{c}/{c}{p:02}-Doe/{n}.png" for c in "ab" for p in range(15) for n in range(3))
    )
    dataset = folder(str(tmp_path), r"/(\w+)-Doe/")
    assert len(dataset.records) == 90
    assert patients(dataset, "train", "val", "test") == {f"{n:02}" for n in range(1, 31)}
    assert [len(patients(dataset, s)) for s in ("train", "val", "test")] == [20, 4, 6]
    again = folder(str(tmp_path), r"/(\w+)-Doe/")
    assert [(r.path, r.split) for r in dataset.records] == [
        (r.path, r.split) for r in again.records
    ]
    sick = [record.patient for record in dataset.records if record.label == 0]
    assert set(sick) == {f"{n:02}" for n in range(1, 16)}
    fill(tmp_path, "a/alone.png")
    assert folder(str(tmp_path), r"/(\w+)-Doe/").notes == (
        f"no patient in 1 path(s), such as {tmp_path}/a/alone.png",
    )


def test_a_pattern_that_is_in_no_path(tmp_path):
    fill(tmp_path, "a/1.png", "b/2.png")
    with pytest.raises(InputError) as error:
        folder(str(tmp_path), r"(p\d)")
    assert (
        str(error.value)
        == f"--patient_pattern=(p\\d): in no path below {tmp_path}, such as a/1.png"
    )


def test_no_split_is_drawn_of_a_class_with_one_patient(tmp_path):
    fill(tmp_path, *(f"{c}/{p}/{n}.png" for c, p in ("a1", "b2", "b3") for n in range(5)))
    with pytest.raises(InputError, match="no test split can be drawn: all images of a class"):
        folder(str(tmp_path), r"/(\d)/")


def test_what_is_checked_is_read_once(image_folder, monkeypatch):
    """A tool checks a data set before it imports TensorFlow, and then loads it."""
    reading = Reading(training=True)
    check_dataset("folder", image_folder, reading)
    check_dataset("folder", image_folder, Reading(training=True))
    first = load_dataset("folder", image_folder)  # other options
    monkeypatch.setattr(data, "_load", None)
    second = load_dataset("folder", image_folder, reading)
    assert [record.path for record in second.records] == [record.path for record in first.records]
    monkeypatch.undo()
    third = load_dataset("folder", image_folder, reading)
    assert third is not second
