"""Hostile HDF5 files are refused with one line, by every reader of HDF5."""

import os

import h5py
import keras
import numpy as np
import pytest

from covid_lm.backbones.convolutional import pooled_features
from covid_lm.backbones.weights.formats import open_h5
from covid_lm.backbones.weights.hdf5 import check_hdf5, load_hdf5_weights
from covid_lm.errors import InputError, UnusableFile

OWN_VALUES = "only values in the file itself are read"


def external_storage(file: h5py.File) -> None:
    file.create_dataset("a/b", (8,), "f4", external=[("/etc/passwd", 0, 32)])


def virtual_dataset(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((8,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (8,))
    file.create_virtual_dataset("a/b", layout)


def external_link(file: h5py.File) -> None:
    file["a/b"] = h5py.ExternalLink("other.h5", "/x")


def soft_link(file: h5py.File) -> None:
    file["a/b"] = h5py.SoftLink("/c")


def cycle(file: h5py.File) -> None:
    file["a/b"] = file.create_group("a")


def deep_groups(file: h5py.File) -> None:
    file["a/" + "b/" * 5000 + "c"] = np.ones(2)


def many_paths(file: h5py.File) -> None:
    """2**30 paths to one group."""
    for level in range(30):
        file.create_group(f"a{level}")
    for level in range(29):
        file[f"a{level}/left"] = file[f"a{level}/right"] = file[f"a{level + 1}"]


def never_written(file: h5py.File) -> None:
    file.create_dataset("a/b", (2**34,), "f4")


def bomb(file: h5py.File) -> None:
    file.create_dataset("a/b", data=np.zeros(2**24, np.uint8), compression="gzip", chunks=(2**20,))


def huge_chunk(file: h5py.File) -> None:
    file.create_dataset("a/b", (4,), "f4", maxshape=(None,), chunks=(2**28,), compression="gzip")


def text(file: h5py.File) -> None:
    file["a/b"] = ["x"]


PROBLEMS = {
    external_storage: f"holds '/a/b', whose values are in other files; {OWN_VALUES}",
    virtual_dataset: f"holds '/a/b', whose values are in other files; {OWN_VALUES}",
    external_link: f"holds '/a/b', a link (external); {OWN_VALUES}",
    soft_link: f"holds '/a/b', a link (soft); {OWN_VALUES}",
    cycle: "holds '/a/b', a group within itself or below 32 others",
    deep_groups: f"holds '/a{'/b' * 32}', a group within itself or below 32 others",
    many_paths: "a group within itself or below 32 others",
    never_written: "holds '/a/b', which unpacks 0 bytes to 68719476736",
    bomb: "which unpacks 16624 bytes to 16777216",
    huge_chunk: "holds '/a/b', which unpacks 0 bytes to 1073741824",
    text: "holds '/a/b', no numbers but object",
}


@pytest.fixture(params=PROBLEMS, ids=lambda write: write.__name__)
def hostile(request, tmp_path) -> tuple[str, str]:
    """A file and the problem with it."""
    path = str(tmp_path / "model.weights.h5")
    with h5py.File(path, "w") as file:
        request.param(file)
    return path, PROBLEMS[request.param]


def test_it_is_refused_by_every_reader(hostile):
    path, problem = hostile
    for read in (check_hdf5, open_h5, lambda path: load_hdf5_weights(None, path)):
        with pytest.raises(UnusableFile) as error:
            read(path)
        assert str(error.value).startswith(f"{path}: ")
        assert problem in str(error.value)


def test_of_a_convolutional_network(tmp_path):
    path = str(tmp_path / "resnet50.h5")
    with h5py.File(path, "w") as file:
        external_storage(file)
    with pytest.raises(InputError) as error:
        pooled_features("resnet50", keras.Input((32, 32, 3)), path, "float32")
    assert str(error.value) == (
        f"--weights={path}: not resnet50 without its top ({PROBLEMS[external_storage]})"
    )


def test_weights_that_are_not_finite(tmp_path):
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(3, name="output")], name="model"
    )
    path = str(tmp_path / "model.weights.h5")
    for value in (np.nan, np.inf, -np.inf):
        model.layers[0].bias.assign([0, value, 0])
        model.save_weights(path)
        with pytest.raises(UnusableFile) as error:
            load_hdf5_weights(model, path)
        assert str(error.value) == f"{path}: tensor model/output/bias holds NaN or infinite values"
    model.layers[0].bias.assign([1, 2, 3])
    model.save_weights(path)
    model.layers[0].bias.assign([0, 0, 0])
    load_hdf5_weights(model, path)
    np.testing.assert_array_equal(model.layers[0].bias, [1, 2, 3])


def test_of_another_model(tmp_path):
    path = str(tmp_path / "model.weights.h5")
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]).save_weights(path)
    other = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4)])
    with pytest.raises(UnusableFile, match=f"^{path}: can't be loaded \\("):
        load_hdf5_weights(other, path)


@pytest.mark.parametrize("cut", [0, 10, 100, -10])
def test_a_truncated_file(tmp_path, cut):
    path = tmp_path / "model.weights.h5"
    with h5py.File(path, "w") as file:
        file["a/b"] = np.ones(100)
    os.truncate(path, cut if cut >= 0 else path.stat().st_size + cut)
    with pytest.raises(UnusableFile) as error:
        check_hdf5(str(path))
    assert str(error.value) == (
        f"{path}: not a complete HDF5 file; it is truncated or damaged: fetch it again"
    )
