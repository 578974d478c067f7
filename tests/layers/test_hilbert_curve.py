"""The order of Hilbert's curve against its drawing."""

import numpy as np
import pytest

from covid_lm.layers.hilbert_curve import hilbert_order
from tests.oracle import hilbert_places


def test_the_second_curve_place_by_place():
    expected = [[0, 1, 14, 15], [3, 2, 13, 12], [4, 7, 8, 11], [5, 6, 9, 10]]
    np.testing.assert_array_equal(np.argsort(hilbert_order(4)).reshape(4, 4), expected)


@pytest.mark.parametrize("side", [1, 2, 8, 16])
def test_every_curve_is_the_one_that_is_drawn(side):
    assert hilbert_order(side).tolist() == [row * side + column for row, column in _drawn(side)]


def _drawn(side: int) -> list[tuple[int, int]]:
    """The oracle draws either the curve or its mirror image along the diagonal."""
    places = hilbert_places(side)
    return places if places[-1] == (0, side - 1) else [(column, row) for row, column in places]


@pytest.mark.parametrize("side", [0, 3, 22])
def test_other_sides_have_no_curve(side):
    with pytest.raises(ValueError, match=f"a power of two, not {side}"):
        hilbert_order(side)
