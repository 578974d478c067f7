import functools
import pathlib
import shutil

import pytest

from covid_lm.data import load_dataset
from covid_lm.data.records import ImageDataset, ImageRecord
from covid_lm.data.unlabelled import content_digest, held_out_digests, unlabelled_records
from covid_lm.errors import InputError

JPEG = b"\xff\xd8\xff\xe0"


def dataset(name: str, files: dict[str, tuple[str, bytes]]) -> ImageDataset:
    """A data set from file name to split and content."""
    records = tuple(
        ImageRecord(
            filename=filename,
            label=0,
            split=split,
            path=f"{name}/{filename}",
            read=functools.partial(bytes, content),
        )
        for filename, (split, content) in files.items()
    )
    return ImageDataset(name, ("one",), records)


def paths(records) -> list[str]:
    return [record.path for record in records]


def test_training_and_validation_images_of_all_data_sets_and_no_test_image():
    first = dataset("a", {"1": ("train", b"1"), "2": ("val", b"2"), "3": ("test", b"3")})
    second = dataset("b", {"4": ("train", b"4"), "5": ("test", b"5")})
    assert paths(unlabelled_records([first, second], "train")) == ["a/1", "b/4"]
    assert paths(unlabelled_records([first, second], "val")) == ["a/2"]
    assert held_out_digests([first, second]) == {content_digest(b"3"), content_digest(b"5")}


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_a_folder_or_zip_without_labels(tmp_path, kind):
    names = ["a.jpg", "b.png", ".hidden", *(f"sub/{number}.jpg" for number in range(18))]
    source = tmp_path / "images"
    for name in names:
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG + name.encode())
    if kind == "zip":
        source = pathlib.Path(shutil.make_archive(str(source), "zip", source))
    loaded = load_dataset("images", str(source))
    assert sorted(record.filename for record in loaded.records) == sorted(
        name.removeprefix("sub/") for name in names if name != ".hidden"
    )
    counts = {split: len(loaded.split(split)) for split in ("train", "val", "test")}
    assert counts == {"train": 18, "val": 2, "test": 0}
    assert {record.read() for record in loaded.records} == {
        JPEG + name.encode() for name in names if name != ".hidden"
    }
    assert load_dataset("images", str(source)).split("val")[0].path == loaded.split("val")[0].path


def test_a_place_without_images(tmp_path):
    with pytest.raises(InputError, match=r"absent: no such folder or zip$"):
        load_dataset("images", str(tmp_path / "absent"))
    with pytest.raises(InputError, match=r"^images: no images found$"):
        load_dataset("images", str(tmp_path))
