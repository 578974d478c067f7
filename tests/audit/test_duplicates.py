"""Duplicates: exact, resized and re-encoded copies are found, similar images are not."""

import numpy as np
import pytest
from PIL import Image

from covid_lm.auditing import duplicates
from covid_lm.auditing.duplicates import (
    DuplicatePair,
    find_duplicates,
    independent_groups,
    near_pairs,
    perceptual_hash,
)
from tests.audit.synthetic import noise, observed
from tests.conftest import encode


def test_exact_and_near_copies():
    small = np.asarray(Image.fromarray(noise(3)).resize((37, 33), Image.BICUBIC))
    seen = [observed(number) for number in range(12)]
    seen.append(observed(3, name="copy.jpg", payload=encode(small, "JPEG", quality=80)))
    seen.append(observed(5, name="same.png"))
    pairs = find_duplicates(seen)
    assert [(p.first, p.second, p.exact) for p in pairs] == [(5, 13, True), (3, 12, False)]
    assert pairs[0].correlation == 1
    assert 0.97 <= pairs[1].correlation < 1


@pytest.mark.parametrize("method", list(Image.Transpose), ids=lambda method: method.name)
@pytest.mark.parametrize("count", [2, 12])
def test_mirrored_and_turned_copies(method, count):
    seen = [observed(number) for number in range(count)]
    turned = np.asarray(Image.fromarray(noise(1)).transpose(method))
    seen.append(observed(1, name="turned.png", payload=encode(turned)))
    (pair,) = find_duplicates(seen)
    assert (pair.first, pair.second, pair.exact) == (1, count, False)
    assert pair.correlation == pytest.approx(1, abs=0.01)


def test_similar_images_are_not_duplicates():
    common = noise(100).astype(int)
    seen = []
    for number in range(12):
        mixed = np.clip(common + (noise(number).astype(int) - 128) // 8, 0, 255).astype(np.uint8)
        seen.append(observed(number, payload=encode(mixed)))
    thumbnails = np.stack([o.thumbnail.ravel() for o in seen]).astype(float)
    assert np.corrcoef(thumbnails).min() > 0.97  # highly correlated, but not copies
    assert find_duplicates(seen) == []


def test_uniform_images_have_no_near_duplicates():
    levels = (10, 90, 90, 200)
    seen = [
        observed(i, payload=encode(np.full((20, 20 + i), level, np.uint8)))
        for i, level in enumerate(levels)
    ]
    assert find_duplicates(seen) == []


def test_no_pair_is_lost_before_the_correlations(monkeypatch):
    rng = np.random.default_rng(0)
    images = np.stack([observed(number).thumbnail for number in range(60)])
    copies = images[:40] + rng.normal(0, np.linspace(0, 20, 40)[:, None, None], images[:40].shape)
    thumbnails = np.concatenate([images, np.clip(copies, 0, 255).astype(np.uint8)])
    found = near_pairs(thumbnails)
    assert 20 < len(found) < 40
    monkeypatch.setattr(duplicates, "_ROUNDING", 3.0)  # then all pairs are correlated
    assert near_pairs(thumbnails) == found


def test_perceptual_hash():
    ramp = np.tile(np.arange(32, dtype=np.float32), (32, 1))
    assert perceptual_hash(ramp[None])[0].reshape(8, 8).tolist() == [[0] * 4 + [1] * 4] * 8


def test_files_of_one_patient_and_duplicates_form_a_group():
    patients = ["p", None, None, "q", None, "q"]
    pairs = [DuplicatePair(0, 3, 1.0, True), DuplicatePair(1, 2, 0.98, False)]
    assert independent_groups(patients, pairs).tolist() == [0, 1, 1, 0, 2, 0]
    assert independent_groups([None, None], []).tolist() == [0, 1]
