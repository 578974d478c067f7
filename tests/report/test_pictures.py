"""Pictures of visible pixels and of attributions, pixel by pixel."""

import base64
import io

import numpy as np
from PIL import Image

from covid_lm.report.pictures import (
    AGAINST,
    FOR,
    attribution_picture,
    attribution_strength,
    png,
    rgb,
    seen_picture,
    shown_image,
)
from tests.audit.synthetic import record
from tests.conftest import encode, random_picture


def opened(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))


def test_kept_values_are_lit_in_their_colour_and_others_dark():
    pixels = np.array([[[0, 10, 20], [255, 10, 20], [100, 100, 100]]], np.uint8)
    kept = np.zeros([3, 1, 3], bool)
    kept[0, 0, 0] = kept[0, 0, 1] = kept[2, 0, 1] = True
    seen = seen_picture(pixels, kept)
    assert seen.tolist() == [[[40, 0, 0], [255, 0, 57], [15, 15, 15]]]


def test_kept_luminance_is_gray():
    seen = seen_picture(np.array([[[255], [200]]], np.uint8), np.array([[[True, False]]]))
    assert seen.tolist() == [[[255, 255, 255], [30, 30, 30]]]


def test_strength_is_the_root_of_the_share():
    values = np.array([0.0, -0.25, 1.0, 4.0])
    assert attribution_strength(values, 1.0).tolist() == [0, 0.5, 1, 1]
    assert attribution_strength(np.zeros(2), 0.0).tolist() == [0, 0]


def test_attribution_adds_planes_up_and_colours_by_sign():
    pixels = np.full([1, 3, 3], 100, np.uint8)
    attribution = np.array([[[2.0, -1, 0]], [[0.0, -3, 0]], [[2.0, 0, 0]]])
    drawn = attribution_picture(pixels, attribution, 4.0)
    assert drawn.tolist() == [[[*FOR], [*AGAINST], [35, 35, 35]]]


def test_png_is_exact():
    picture = random_picture(5, 7)
    np.testing.assert_array_equal(np.asarray(opened(png(picture))), picture)


def test_the_file_is_shown_or_else_the_pixels_of_the_model():
    pixels = random_picture(4, 4)[..., :1]
    small = opened(shown_image(record(payload=encode(random_picture(300, 600))), pixels))
    assert (small.format, small.size) == ("JPEG", (200, 100))
    unreadable = opened(shown_image(record(payload=b"no image"), pixels))
    np.testing.assert_array_equal(np.asarray(unreadable), rgb(pixels))
