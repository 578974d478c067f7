"""Features of the layout and of the history: exact values for made-up images."""

import io

import numpy as np
import pytest
from PIL import Image

from covid_lm.auditing.features.container import encoder_facts
from covid_lm.auditing.features.history import history_features
from covid_lm.auditing.features.layout import (
    mark_features,
    padding_features,
    surrounding_features,
    without_marks,
)
from covid_lm.auditing.features.pixels import colour_features
from tests.conftest import encode


def dark(height: int = 100, width: int = 120) -> np.ndarray:
    return np.full((height, width), 10, np.uint8)


def test_a_letter_in_a_corner_is_a_mark():
    gray = dark()
    gray[4:12, 100:102] = gray[10:12, 100:106] = 255
    features = mark_features(gray)
    assert features["marks near the border"] == features["marks at the top right"] == 1
    assert features["area of the marks in permille"] == pytest.approx(1000 * 24 / 12000)
    assert sum(features.values()) == pytest.approx(2 + 2)


def test_thick_dim_and_central_areas_are_no_marks():
    gray = dark()
    gray[:15, :40] = 255  # thick
    gray[90:93, 5:20] = 100  # dim
    gray[50:53, 50:60] = 255  # central
    assert set(mark_features(gray).values()) == {0}
    assert set(mark_features(np.array([[255]], np.uint8)).values()) == {0}


def test_a_large_image_keeps_thin_marks():
    gray = dark(600, 800)
    gray[590:592, 20:40] = 250
    assert mark_features(gray)["marks at the bottom left"] == 1


@pytest.mark.parametrize(("factor", "level"), [(1, 10), (3, 90)])
def test_marks_are_filled_with_their_surroundings(factor, level):
    plain = np.full((100 * factor, 120 * factor, 3), level, np.uint8)
    plain[40 * factor : 60 * factor, 30 * factor : 90 * factor] = 220  # a bright organ
    if factor > 1:
        plain = np.pad(plain, ((0, 500), (0, 500), (0, 0)), "edge")
    marked = plain.copy()
    marked[4 * factor : 20 * factor, 9 * factor : 11 * factor] = 255  # reaches out of the zone
    marked[18 * factor : 20 * factor, 9 * factor : 16 * factor] = 255
    assert mark_features(marked[..., 0])["marks near the border"] == 1
    np.testing.assert_array_equal(without_marks(marked, marked[..., 0]), plain)
    np.testing.assert_array_equal(without_marks(plain, plain[..., 0]), plain)


def test_bars_and_content():
    rng = np.random.default_rng(0)
    gray = rng.integers(60, 200, (40, 50)).astype(np.uint8)
    gray[:4] = gray[-8:] = 0
    gray[:, -5:] = 0
    features = padding_features(gray)
    assert features["bar at the top as a share of the side"] == 0.1
    assert features["bar at the bottom as a share of the side"] == 0.2
    assert features["bar at the left as a share of the side"] == 0
    assert features["bar at the right as a share of the side"] == 0.1
    assert features["aspect ratio without bars"] == pytest.approx(45 / 28)
    assert features["share of the outline with content"] == pytest.approx(28 / 180)
    assert padding_features(dark())["bar at the top as a share of the side"] == 1


def test_surroundings_leave_the_centre_out():
    thumbnail = np.full((32, 32), 20, np.uint8)
    thumbnail[4:-4, 4:-4] = 200
    assert set(surrounding_features(thumbnail).values()) == {20}
    thumbnail[28:, :16] = 90
    features = surrounding_features(thumbnail)
    assert len(features) == 12
    lit = {name for name, value in features.items() if value > 20}
    assert lit == {
        "brightness of the bottom left corner",
        "brightness of the left half of the bottom",
    }


def smooth_noise(seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(0, 20, (128, 128))
    spread = values + np.roll(values, 1, 0) + np.roll(values, 1, 1)
    return np.clip(128 + spread, 0, 255).astype(np.uint8)


def test_upsampling_takes_the_high_frequencies_away():
    gray = smooth_noise()
    image = Image.fromarray(gray)
    small = image.resize((64, 64), Image.Resampling.BOX)
    upsampled = np.asarray(small.resize((128, 128), Image.Resampling.BICUBIC))
    sharp, soft = history_features(gray), history_features(upsampled)
    for side in ("across", "down"):
        assert soft[f"high frequencies {side}"] < sharp[f"high frequencies {side}"] - 1


def test_jpeg_leaves_a_period_in_the_coefficients():
    gray = smooth_noise()
    once = np.asarray(Image.open(io.BytesIO(encode(gray, "JPEG", quality=60))))
    before, after = history_features(gray), history_features(once)
    step = Image.open(io.BytesIO(encode(gray, "JPEG", quality=60))).quantization[0][1]
    assert after["period of coefficient 0,1"] == pytest.approx(step, rel=0.05)
    assert after["periodicity of coefficient 0,1"] > 0.6
    assert before["periodicity of coefficient 0,1"] < 0.3


@pytest.mark.parametrize("shape", [(1, 1), (3, 700), (9, 9)])
def test_tiny_images_have_a_history(shape):
    features = history_features(np.zeros(shape, np.uint8))
    assert len(features) == 10
    assert np.isfinite(list(features.values())).all()


def test_colour_cast():
    pixels = np.full((64, 64, 3), 100, np.uint8)
    pixels[:, 32:] = 120, 110, 100
    features = colour_features(Image.fromarray(pixels))
    assert features["red minus green"] == 5
    assert features["blue minus green"] == -5
    assert features["red minus green of the bright half"] == 10
    assert features["share of coloured areas"] == 0.5
    assert set(colour_features(Image.fromarray(pixels[..., 0])).values()) == {0}


def test_encoder_facts():
    gray = smooth_noise()
    payload = encode(gray, "JPEG", progressive=True, quality=75)
    facts = encoder_facts(payload, Image.open(io.BytesIO(payload)))
    assert {"JPEG with SOF2", "JPEG table 0 starts with 8 6 5 8 12 20"} <= {*facts}
    assert facts[-1] == "JPEG sampling 1x1"
    payload = encode(gray)
    assert encoder_facts(payload, Image.open(io.BytesIO(payload))) == (
        "PNG with IDAT",
        "PNG interlacing 0",
    )
    assert encoder_facts(b"BM", Image.new("L", (1, 1))) == ()
