"""Features of the pixels: exact values for made-up images."""

import numpy as np
import pytest
from PIL import Image

from covid_lm.auditing.features import pixels as pixel_features
from covid_lm.data.preview import gray_levels, gray_thumbnail


def framed(height=32, width=40, ring=4, inside=100, outside=10) -> np.ndarray:
    gray = np.full((height, width), outside, np.uint8)
    gray[ring:-ring, ring:-ring] = inside
    return gray


@pytest.mark.parametrize(
    ("size", "width"), [((32, 40), 4), ((300, 400), 6), ((6, 6), 1), ((48, 64), 6)]
)
def test_ring_width(size, width):
    assert pixel_features.ring_width(*size) == width


def test_interior_leaves_the_ring_out():
    inner = pixel_features.interior(framed())
    assert inner.shape == (24, 32)
    assert np.all(inner == 100)


def test_interior_of_a_large_picture_is_cut_on_the_grid():
    gray = np.tile(np.arange(16, dtype=np.uint8) % 8, (20, 250))  # 20 x 4000
    inner = pixel_features.interior(gray)
    assert inner.shape == (16, 2048)
    assert inner[0, 0] == gray[0, 2]  # ring 2, then a multiple of 8


def test_intensity():
    gray = framed()
    gray[4:16, 4:-4] = 50
    features = pixel_features.intensity_features(Image.fromarray(gray), gray)
    assert features == {
        "mean intensity": 75,
        "standard deviation of intensity": 25,
        "5th percentile of intensity": 50,
        "95th percentile of intensity": 100,
        "mean colour difference": 0,
    }


def test_colour_difference():
    pixels = np.zeros((32, 32, 3), np.uint8)
    pixels[..., 0], pixels[..., 2] = 70, 20
    image = Image.fromarray(pixels)
    features = pixel_features.intensity_features(image, gray_levels(image))
    assert features["mean colour difference"] == 70


def test_border():
    gray = framed()
    gray[1, :] = 210
    features = pixel_features.border_features(gray)
    assert features["mean of the top border"] == 60
    assert features["maximum of the top border"] == 210
    assert features["standard deviation of the bottom border"] == 0
    assert features["mean of the left border"] == (31 * 10 + 210) / 32
    assert features["minimum of the right border"] == 10
    assert len(features) == 16


def test_compression_of_a_grid_of_blocks():
    levels = np.add.outer(np.arange(10), np.arange(10)).astype(np.uint8) % 2 * 40 + 60
    features = pixel_features.compression_features(np.kron(levels, np.ones((8, 8), np.uint8)))
    assert features["blockiness across"] == pytest.approx(40.1 / 0.1)
    assert features["blockiness down"] == pytest.approx(40.1 / 0.1)
    assert features["share of equal neighbours"] == pytest.approx(1 - 9 / 67)
    assert features["share of unused levels"] == pytest.approx(1 - 2 / 41)
    assert features["share of black pixels"] == features["share of white pixels"] == 0


def test_compression_of_a_ramp_and_of_clipping():
    ramp = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
    features = pixel_features.compression_features(ramp)
    assert features["blockiness across"] == pytest.approx(1)
    assert features["high-frequency energy"] == 0
    clipped = framed(inside=255)
    clipped[4:10, 4:-4] = 0
    features = pixel_features.compression_features(clipped)
    assert features["share of black pixels"] == 0.25
    assert features["share of white pixels"] == 0.75


def test_deep_samples_and_tiny_pictures():
    deep = Image.fromarray(np.array([[0, 32768], [65535, 65535]], np.uint16))
    assert gray_levels(deep).tolist() == [[0, 127], [255, 255]]
    one = np.array([[7]], np.uint8)
    assert pixel_features.border_features(one)["mean of the top border"] == 7
    assert pixel_features.compression_features(one)["blockiness across"] == 1
    assert gray_thumbnail(one, 32).tolist() == [[7] * 32] * 32
