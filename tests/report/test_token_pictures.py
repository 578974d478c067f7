"""Captions of the token pictures."""

import numpy as np

from covid_lm.backbones.vocabulary import built_in_vocabulary
from covid_lm.evaluation.attribution import Attribution
from covid_lm.evaluation.token_positions import token_positions
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.protocols import LAYOUTS
from covid_lm.report.token_pictures import kept_text, name_characters, name_strip, sums_text


def positions(name: bytes, **settings):
    preprocessor = Preprocessor(built_in_vocabulary(), policy="visible", **settings)
    return token_positions(preprocessor, name)


def test_kept_values_are_counted_by_plane():
    assert kept_text(positions(b"n" * 20)) == (
        "255 of 1024 red, 0 of 1024 green, 234 of 1024 blue values; 20 positions for the name"
    )
    gray = positions(b"n" * 20, **LAYOUTS["gray22"])
    assert kept_text(gray) == "484 of 484 luminance values; 20 positions for the name"


def test_sums_by_kind_of_token():
    small = positions(b"ab", image_size=(1, 1), color="luminance", head=4, tail=4)
    # [CLS] pixel [SEP] a b [SEP] [PAD] [PAD]
    tokens = np.array([0.0, 1.0, 0.25, 0.5, -2.0, 0.125, 0.0, 0.0])
    text = sums_text(Attribution(tokens, margin=1.0, baseline_margin=1.0, points=8), small)
    assert text == (
        "margin +1.000 = baseline +1.000, image +1.000, name -1.500, [SEP] +0.375 "
        "(8 points; error of the sum 1.2e-01)"
    )


def test_names_are_shown_as_they_are_read():
    name = "é<.png".encode()
    assert name_characters(name, positions(name), "visible") == ["\ufffd", "\ufffd", *"<.png"]
    assert name_characters(name, positions(name), "masked") == ["•"] * 7


def test_characters_have_the_colour_of_their_attribution():
    strip = name_strip(list("abc"), np.array([0.25, -1.0, np.nan]), scale=1.0)
    assert strip == [
        ("a", "rgba(255, 150, 20, 0.5)"),
        ("b", "rgba(70, 150, 255, 1.0)"),
        ("c", None),
    ]
