"""The cache of crops and features: its content, interruption, damage and batches."""

import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from covid_lm.backbones.vocabulary import built_in_vocabulary
from covid_lm.data.folder import folder
from covid_lm.errors import RunError
from covid_lm.layers.augmentation import Augmentation
from covid_lm.layers.image_input import ImageInput
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.pipeline import teacher_targets
from covid_lm.pipeline.augmented import working_image_input
from covid_lm.pipeline.decoded import decode_records
from covid_lm.pipeline.teacher_targets import CropPlan, cached_targets
from covid_lm.pipeline.tokenized import epoch_order
from covid_lm.protocols import AUGMENTATIONS, layout_arguments, layout_trim

WIDTH = 3
LAYOUT = {**layout_arguments("patches32x8"), **layout_trim("patches32x8", "absent")}


class Teacher:
    """Features of each image alone: mean, first pixel, and a constant."""

    def predict_on_batch(self, pixels: np.ndarray) -> np.ndarray:
        means = pixels.mean((1, 2, 3), dtype=np.float32)
        return np.stack([means, pixels[:, 0, 0, 0], np.full_like(means, 7)], axis=1)


@pytest.fixture
def plan(image_folder, monkeypatch) -> CropPlan:
    monkeypatch.setattr(teacher_targets, "BLOCK_IMAGES", 10)
    records = folder(image_folder).split("train")
    return CropPlan(records, ImageInput(32, "luminance"), 48, 2, AUGMENTATIONS["heavy"], seed=3)


@pytest.fixture
def quick_plan(plan, monkeypatch) -> CropPlan:
    """The plan with random rows for each block, in place of crops and features."""

    def block(self, number, crop, teacher):
        rows = 2 * min(10, len(self.records) - 10 * number)
        generator = np.random.default_rng(number)
        crops = generator.integers(0, 256, (rows, 32, 32, 1), np.uint8)
        return {"crops": crops, "features": generator.normal(size=(rows, WIDTH)).astype(np.float16)}

    monkeypatch.setattr(CropPlan, "cropping", lambda self: None)
    monkeypatch.setattr(CropPlan, "block", block)
    return plan


def targets(path, plan):
    preprocessor = Preprocessor(built_in_vocabulary(), "absent", **LAYOUT)
    names = np.array([record.filename.encode() for record in plan.records], object)
    return cached_targets(str(path), plan, Teacher(), WIDTH, preprocessor, names)


def content(path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in pathlib.Path(path).iterdir()}


def test_crops_and_features(plan, tmp_path):
    found = targets(tmp_path / "a", plan)
    assert found.crops.shape == (48, 32, 32, 1)
    assert found.features.shape == (48, WIDTH)
    larger = working_image_input(ImageInput(48, "luminance"))
    pixels = decode_records([plan.records[13]], larger).pixels
    seeds = np.random.default_rng([3, 13]).integers(2**31, size=(2, 2), dtype=np.int32)
    for crop in range(2):
        seen = Augmentation((48, 48), **AUGMENTATIONS["heavy"])(pixels, seeds[crop : crop + 1])
        features = Teacher().predict_on_batch(seen.numpy())[0].astype(np.float16)
        np.testing.assert_array_equal(found.features[26 + crop], features)
        smaller = tf.image.resize(seen, (32, 32), antialias=True)[0]
        assert np.abs(found.crops[26 + crop] - smaller.numpy()).max() <= 0.5001
    standard = found.standardize(found.features)
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(standard.std(axis=0), [1, 1, 0], atol=1e-5)


def test_an_interrupted_cache_is_completed(quick_plan, tmp_path, monkeypatch):
    calls, block = [], CropPlan.block

    def interrupted(self, number, crop, teacher):
        calls.append(number)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return block(self, number, crop, teacher)

    expected = targets(tmp_path / "a", quick_plan)
    monkeypatch.setattr(CropPlan, "block", interrupted)
    with pytest.raises(KeyboardInterrupt):
        targets(tmp_path / "b", quick_plan)
    assert list(json.loads((tmp_path / "b" / "checksums.json").read_text())) == ["0"]
    targets(tmp_path / "b", quick_plan)
    assert calls == [0, 1, 1, 2]
    assert content(tmp_path / "b") == content(tmp_path / "a")
    np.testing.assert_array_equal(
        expected.crops,
        np.fromfile(tmp_path / "b" / "crops", np.uint8).reshape(expected.crops.shape),
    )


@pytest.mark.parametrize("name", ["crops", "features", "checksums.json"])
@pytest.mark.parametrize("change", ["byte", "cut", "absent"])
def test_damage_is_repaired(quick_plan, tmp_path, name, change):
    targets(tmp_path / "a", quick_plan)
    expected, path = content(tmp_path / "a"), tmp_path / "a" / name
    damaged = bytearray(expected[name])
    damaged[len(damaged) // 2] ^= 64
    path.write_bytes(damaged if change == "byte" else damaged[: len(damaged) // 2])
    if change == "absent":
        path.unlink()
    targets(tmp_path / "a", quick_plan)
    assert content(tmp_path / "a").keys() == expected.keys()
    for file, before in expected.items():
        if file.endswith("json"):
            assert json.loads((tmp_path / "a" / file).read_text()) == json.loads(before)
        else:
            assert (tmp_path / "a" / file).read_bytes() == before


def test_batches_of_an_epoch(plan, tmp_path):
    found = targets(tmp_path / "a", plan)
    batches = list(found.epochs(20, 5, range(1, 2)).as_numpy_iterator())
    rows = epoch_order(48, 20, 5, 1)
    assert len(batches) == found.steps(20) == 3
    for (inputs, features), order in zip(batches, rows, strict=True):
        np.testing.assert_array_equal(features, found.standardize(found.features[order]))
        expected = found.preprocessor.tokenize(found.crops[order])
        for key, value in expected.items():
            np.testing.assert_array_equal(inputs[key], value)
    later = list(found.epochs(20, 5, range(1, 2), first_step=2).as_numpy_iterator())
    assert len(later) == 1
    np.testing.assert_array_equal(later[0][1], batches[2][1])


def test_the_key_names_what_the_content_depends_on(plan):
    changes = ({"seed": 4}, {"crops": 3}, {"teacher_size": 64}, {"augmentation": {}})
    keys = {CropPlan(**{**vars(plan), **change}).key("i", "t") for change in changes}
    assert len(keys | {plan.key("i", "t"), plan.key("j", "t"), plan.key("i", "u")}) == 7


def test_a_full_disk(quick_plan, tmp_path, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(teacher_targets, "flush_to_disk", full)
    with pytest.raises(RunError) as error:
        targets(tmp_path / "a", quick_plan)
    assert str(error.value) == (
        f"{tmp_path}/a: can't be written (No space left on device); make room, or give another "
        "--cache_dir, and repeat the command: it continues where it ended"
    )
    assert "checksums.json" not in os.listdir(tmp_path / "a")
