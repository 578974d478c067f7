"""The confusion matrix as cells of a table, as a picture, and as a list of errors."""

import numpy as np

from covid_lm.report.measures import (
    RIGHT,
    WRONG,
    confusion_cells,
    confusion_picture,
    frequent_confusions,
)


def test_cells_are_coloured_by_their_share_of_the_row():
    right, wrong = (", ".join(map(str, colour)) for colour in (RIGHT, WRONG))
    assert confusion_cells([[3, 1], [0, 0]]) == [
        [(3, f"rgba({right}, 0.45)"), (1, f"rgba({wrong}, 0.15)")],  # 0.6 * 3 / 4
        [(0, f"rgba({wrong}, 0.0)"), (0, f"rgba({right}, 0.0)")],
    ]


def test_pixels_are_as_opaque_as_the_root_of_the_share():
    counts = np.eye(20, dtype=int) * 3
    counts[4, 7] = 1
    picture = confusion_picture(counts.tolist())
    assert picture[0, 0].tolist() == [*RIGHT, 255]
    assert picture[4, 7].tolist() == [*WRONG, 128]  # the root of 1/4
    assert picture[4, 8, 3] == 0


def test_the_most_frequent_confusions():
    counts = np.eye(20, dtype=int) * 3
    counts[4, 7], counts[9, 0] = 1, 2
    classes = [f"c{k}" for k in range(20)]
    assert frequent_confusions(counts.tolist(), classes) == [("c9", "c0", 2), ("c4", "c7", 1)]
    assert frequent_confusions((np.ones([20, 20], int)).tolist(), classes)[9] == ("c0", "c10", 1)
    assert len(frequent_confusions(np.ones([20, 20], int).tolist(), classes)) == 10
    assert frequent_confusions(np.eye(20, dtype=int).tolist(), classes) == []
