"""Hilbert's curve: a way through a square on which places that are near follow each other soon."""

import numpy as np


def hilbert_order(side: int) -> np.ndarray:
    """The places of a square, numbered row by row, in the curve's order: int32 [side * side].

    It begins in the first row's first place, ends in that row's last, and each step goes to a
    neighbour (Hilbert 1891).

    Args:
        side: a power of two.

    Raises:
        ValueError: another side.
    """
    if side < 1 or side & (side - 1):
        raise ValueError(f"a Hilbert curve needs a side that is a power of two, not {side}")
    rows = columns = np.zeros(1, np.int32)
    size = 1
    while size < side:
        # Four copies of the curve of half the side: turned, as it is, as it is, turned back.
        rows, columns = (
            np.concatenate([columns, rows + size, rows + size, size - 1 - columns]),
            np.concatenate([rows, columns, columns + size, 2 * size - 1 - rows]),
        )
        size *= 2
    return rows * side + columns
