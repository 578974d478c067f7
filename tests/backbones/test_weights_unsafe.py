"""Weight directories that hold links, special files, or values that are not numbers."""

import json
import os
import random

import numpy as np
import pytest

from covid_lm.backbones.weights.read import load_weights
from covid_lm.errors import InputError
from tests.backbones.conftest import ARRAYS, the_line, write
from tests.backbones.test_weights_refusals import own_name


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_tensor_that_is_not_finite(tmp_path, backbone, file_format, value):
    name = "bert/encoder/layer_1/output/dense/kernel"
    damaged = ARRAYS[name].copy()
    damaged[3, 4] = value
    before = backbone.get_weights()
    path = write(tmp_path, file_format, ARRAYS | {name: damaged})
    assert the_line(load_weights, tmp_path, backbone) == (
        f"{path}: tensor {own_name(name, file_format)} holds NaN or infinite values; fetch it again"
    )
    for old, new in zip(before, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_links_out_of_the_directory(tmp_path, backbone, file_format):
    directory, outside = tmp_path / "model", tmp_path / "elsewhere"
    directory.mkdir()
    outside.mkdir()
    write(directory, file_format)
    for path in sorted(directory.iterdir()):
        moved = path.rename(outside / path.name)
        path.symlink_to(moved)
        assert the_line(load_weights, directory, backbone) == (
            f"{path}: a link out of {directory}; put the file itself there"
        )
        moved.rename(path)
    load_weights(directory, backbone)
    (tmp_path / "link").symlink_to(directory)
    load_weights(tmp_path / "link", backbone)  # the user's own link


def test_links_of_the_hugging_face_cache(tmp_path, backbone, file_format):
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0a1b"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--a--b" / "blobs").mkdir()
    write(snapshot, file_format)
    for number, path in enumerate(sorted(snapshot.iterdir())):
        blob = path.rename(tmp_path / "models--a--b" / "blobs" / str(number))
        path.symlink_to(f"../../blobs/{number}")
    load_weights(snapshot, backbone)
    blob.rename(tmp_path / "blob")
    path.unlink()
    path.symlink_to("../../../blob")
    assert the_line(load_weights, snapshot, backbone) == (
        f"{path}: a link out of {tmp_path}/models--a--b; put the file itself there"
    )


def test_a_fifo_is_not_opened(tmp_path, backbone, file_format):
    write(tmp_path, file_format)
    for path in sorted(tmp_path.iterdir()):
        content = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        assert the_line(load_weights, tmp_path, backbone) == (
            f"{path}: not a regular file (a FIFO)"
        )
        path.unlink()
        path.write_bytes(content)


ODD_VALUES = (None, True, -1, 10**30, float("nan"), "", "x" * 5000, [], [[]], {"a": 1}, 2.5, "\n")


def damage(directory, generator: random.Random) -> None:
    """Changes a byte, cuts a file short, or replaces a value of the config."""
    config, *others = sorted(directory.iterdir(), key=lambda path: "config" not in path.name)
    kind, path = generator.randrange(3), generator.choice([config, *others])
    if kind == 0:
        content = bytearray(path.read_bytes())
        content[generator.randrange(min(len(content), 4000))] ^= generator.randrange(1, 256)
        path.write_bytes(content)
    elif kind == 1:
        os.truncate(path, generator.randrange(path.stat().st_size))
    else:
        values = json.loads(config.read_text())
        values[generator.choice([*values])] = generator.choice(ODD_VALUES)
        config.write_text(json.dumps(values))


def test_damaged_directories_load_or_are_one_line(tmp_path, backbone, file_format):
    refused = 0
    for seed in range(20):
        directory = tmp_path / str(seed)
        directory.mkdir()
        write(directory, file_format)
        damage(directory, random.Random(seed))
        try:
            load_weights(directory, backbone)
        except InputError as error:
            refused += 1
            lines = str(error).splitlines()
            assert len(lines) == 1, lines
    assert refused >= 10
