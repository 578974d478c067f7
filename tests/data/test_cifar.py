import collections
import dataclasses
import pathlib
import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from covid_lm.data import load_dataset
from covid_lm.errors import InputError
from covid_lm.layers.image_input import ImageInput
from tests.conftest import SHARED_DATA, encode, random_picture
from tests.data.cifar_samples import (
    CLASSES,
    COARSE,
    COARSE_OF_FINE,
    FINE,
    binary_files,
    cifar10_batches,
    cifar100_batches,
    python2_pickle,
    python_files,
    write_folder,
    write_tar_gz,
)

UNVERIFIED = " (files not verified)"


@pytest.fixture
def image_input() -> ImageInput:
    return ImageInput()


def pixels_of(records, image_input) -> np.ndarray:
    decoded = image_input([record.read() for record in records])
    assert decoded["valid"].numpy().all()
    return decoded["pixels"].numpy()


def published_pixels(data: np.ndarray) -> np.ndarray:
    """Independently converts CIFAR's rows, uint8 [n, 3072], to [n, 32, 32, 3]."""
    pixels = np.zeros([len(data), 32, 32, 3], np.uint8)
    for channel in range(3):
        for row in range(32):
            start = 1024 * channel + 32 * row
            pixels[:, row, :, channel] = data[:, start : start + 32]
    return pixels


def test_cifar10_from_python_pickles(tmp_path, image_input):
    data_dir = write_folder(tmp_path / "cifar-10-batches-py", python_files("cifar10"))
    dataset = load_dataset("cifar10", data_dir)
    assert dataset.name == "cifar10" + UNVERIFIED
    assert list(dataset.classes) == CLASSES
    batches = cifar10_batches()
    assert [r.filename for r in dataset.records] == [
        n for b in batches.values() for n in b.filenames
    ]
    assert [r.label for r in dataset.records] == [
        k for b in batches.values() for k in b.labels["labels"]
    ]
    assert dataset.records[12].path == f"{data_dir}/data_batch_2[2]"
    expected = published_pixels(np.concatenate([batch.data for batch in batches.values()]))
    np.testing.assert_array_equal(pixels_of(dataset.records, image_input), expected)


def test_splits_are_drawn_by_class_from_training_alone(tmp_path):
    write_folder(tmp_path / "cifar-10-batches-py", python_files("cifar10"))
    dataset = load_dataset("cifar10", str(tmp_path))
    counts = collections.Counter((r.split, r.label) for r in dataset.records)
    assert counts == {
        (split, label): count
        for split, count in (("train", 4), ("val", 1), ("test", 1))
        for label in range(10)
    }
    assert {r.split for r in dataset.records[50:]} == {"test"}
    again = load_dataset("cifar10", str(tmp_path))
    assert [r.split for r in again.records] == [r.split for r in dataset.records]


def test_all_versions_and_locations_give_the_same_images(tmp_path, image_input):
    folders = {"cifar-10-batches-py": python_files, "cifar-10-batches-bin": binary_files}
    archives = {"cifar-10-batches-py": "python", "cifar-10-batches-bin": "binary"}
    unpacked = {}
    for folder, files in folders.items():
        unpacked[folder] = load_dataset(
            "cifar10", write_folder(tmp_path / "u" / folder, files("cifar10"))
        )
        parent = tmp_path / archives[folder]
        parent.mkdir()
        archive = parent / f"cifar-10-{archives[folder]}.tar.gz"
        write_tar_gz(archive, folder, files("cifar10"))
        for data_dir in (parent, archive):
            packed = load_dataset("cifar10", str(data_dir))
            assert packed.classes == unpacked[folder].classes
            for one, other in zip(packed.records, unpacked[folder].records, strict=True):
                assert (one.filename, one.label) == (other.filename, other.label)
                assert one.read() == other.read()
        assert packed.records[0].path.startswith(f"{archive}!{folder}/data_batch_1")
    python, binary = unpacked.values()
    assert [r.read() for r in python.records] == [r.read() for r in binary.records]
    assert [r.label for r in python.records] == [r.label for r in binary.records]
    assert binary.records[12].filename == "data_batch_2_00002.png"


@pytest.mark.parametrize(
    ("folder", "files"), [("cifar-100-python", python_files), ("cifar-100-binary", binary_files)]
)
def test_cifar100_with_fine_and_coarse_labels(tmp_path, image_input, folder, files):
    write_folder(tmp_path / folder, files("cifar100"))
    fine = load_dataset("cifar100", str(tmp_path))
    coarse = load_dataset("cifar100_coarse", str(tmp_path))
    assert (list(fine.classes), list(coarse.classes)) == (FINE, COARSE)
    assert coarse.name == "cifar100_coarse" + UNVERIFIED
    batches = cifar100_batches()
    labels = [k for b in batches.values() for k in b.labels["fine_labels"]]
    assert [r.label for r in fine.records] == labels
    assert [r.label for r in coarse.records] == [COARSE_OF_FINE[label] for label in labels]
    assert [r.split for r in fine.records] == [r.split for r in coarse.records]
    assert [len(fine.split(s)) for s in ("train", "val", "test")] == [8, 4, 4]
    assert sorted(r.label for r in fine.split("val")) == [0, 1, 2, 3]
    expected = published_pixels(np.concatenate([batch.data for batch in batches.values()]))
    np.testing.assert_array_equal(pixels_of(coarse.records, image_input), expected)
    if folder == "cifar-100-python":
        assert [r.filename for r in fine.records[-4:]] == batches["test"].filenames
    else:
        assert fine.records[-1].filename == "test_00003.png"


def test_the_length_of_a_file_tells_nothing(tmp_path):
    files = binary_files("cifar100")
    files["test.bin"] = bytes([1, 0]) + bytes(3072) + files["test.bin"]
    dataset = load_dataset("cifar100", write_folder(tmp_path / "cifar-100-binary", files))
    assert len({len(r.read()) for r in dataset.records}) == 1


def changed_pickle(**changes) -> bytes:
    batch = cifar10_batches()["test_batch"]
    content = {**batch.labels, "data": batch.data, "filenames": batch.filenames, **changes}
    return python2_pickle({key: value for key, value in content.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": np.zeros([10, 3071], np.uint8)}, "its data is not uint8 [n, 3072]"),
        ({"data": np.zeros([10, 3072], np.int64)}, "its data is not uint8 [n, 3072]"),
        ({"data": None}, "its data is not uint8 [n, 3072]"),
        ({"labels": [0] * 9}, "no list of 10 'labels'"),
        ({"labels": None}, "no list of 10 'labels'"),
        ({"labels": [0] * 9 + [10]}, "labels outside 0 to 9"),
        ({"labels": [0] * 9 + ["1"]}, "labels outside 0 to 9"),
        ({"filenames": None}, "no list of 10 'filenames'"),
        ({"filenames": ["x.png"] * 9 + ["../x.png"]}, "'../x.png' is not a file name"),
        ({"filenames": ["x.png"] * 9 + [b"\xff.png"]}, "a name that is not text"),
        ({"filenames": ["x.png"] * 9 + [1]}, "a name that is not text"),
    ],
)
def test_a_pickle_that_is_not_cifars(tmp_path, changes, message):
    files = {**python_files("cifar10"), "test_batch": changed_pickle(**changes)}
    folder = write_folder(tmp_path / "cifar-10-batches-py", files)
    with pytest.raises(InputError, match=re.escape(f"{folder}/test_batch: {message}; fetch it")):
        load_dataset("cifar10", folder)


def test_a_binary_file_that_was_cut(tmp_path):
    files = binary_files("cifar100")
    files["train.bin"] = files["train.bin"][:-1]
    folder = write_folder(tmp_path / "cifar-100-binary", files)
    with pytest.raises(InputError, match=r"train.bin: 36887 bytes, no multiple of 3074; fetch it"):
        load_dataset("cifar100", folder)


def images_zip(path: pathlib.Path, **more: bytes) -> str:
    """Two training images and a test image of each class, each with its own colours."""
    with zipfile.ZipFile(path, "w") as archive:
        for label, class_name in enumerate(CLASSES):
            for number in range(3):
                split = "test" if number == 2 else "train"
                picture = encode(random_picture(32, 32, 3 * label + number), "PNG")
                archive.writestr(f"{split}/{class_name}/{number:04}.png", picture)
        for name, content in more.items():
            archive.writestr(name, content)
    return str(path)


def test_the_zip_of_copies(tmp_path, image_input):
    path = images_zip(tmp_path / "cifar10_images.zip")
    dataset = load_dataset("cifar10", str(tmp_path))
    assert dataset.name == "cifar10 (JPEG copies)"
    assert list(dataset.classes) == CLASSES
    assert [len(dataset.split(s)) for s in ("train", "val", "test")] == [10, 10, 10]
    frog = next(r for r in dataset.split("test") if r.label == 6)
    assert (frog.filename, frog.path) == ("0002.png", f"{path}!test/frog/0002.png")
    np.testing.assert_array_equal(pixels_of([frog], image_input)[0], random_picture(32, 32, 20))
    by_path = load_dataset("cifar10", path)
    keys = [dataclasses.replace(r, read=None) for r in by_path.records]
    assert keys == [dataclasses.replace(r, read=None) for r in dataset.records]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("train/zebra/0.jpg", "holds 'train/zebra/0.jpg'; its files must be train/CLASS/NAME or"),
        ("0.jpg", "holds '0.jpg'; its files must be"),
        ("train/cat/a/0.jpg", "holds 'train/cat/a/0.jpg'; its files must be"),
        ("val/cat/0.jpg", "holds 'val/cat/0.jpg'; its files must be"),
        ("train/cat/../../../0.jpg", "which leads out of it; not an archive to trust"),
    ],
)
def test_a_zip_with_something_else(tmp_path, name, message):
    images_zip(tmp_path / "cifar10_images.zip", **{name: b""})
    with pytest.raises(InputError, match=re.escape(message)):
        load_dataset("cifar10", str(tmp_path))


def test_a_damaged_zip(tmp_path):
    (tmp_path / "cifar10_images.zip").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(InputError, match=r"cifar10_images.zip: not a zip, or cut short"):
        load_dataset("cifar10", str(tmp_path))


def test_the_published_jpeg_copies(image_input):
    if not (SHARED_DATA / "cifar10_images.zip").is_file():
        pytest.skip("needs CIFAR-10 at ../shared/data/cifar10_images.zip")
    dataset = load_dataset("cifar10", str(SHARED_DATA))
    counts = collections.Counter((r.split, r.label) for r in dataset.records)
    assert counts == {
        (split, label): count
        for split, count in (("train", 4500), ("val", 500), ("test", 1000))
        for label in range(10)
    }
    chosen = dataset.records[::6007]
    with zipfile.ZipFile(SHARED_DATA / "cifar10_images.zip") as archive:
        for record, pixels in zip(chosen, pixels_of(chosen, image_input), strict=True):
            member = record.path.split("!")[1]
            assert member.split("/")[1] == dataset.classes[record.label]
            with archive.open(member) as file:
                pillow = np.asarray(Image.open(file).convert("RGB")).astype(int)
            assert np.abs(pillow - pixels).max() <= 1
