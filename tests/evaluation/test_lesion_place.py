import numpy as np

from covid_lm.data.phantom.dataset import lesions, phantom
from covid_lm.evaluation.lesion_place import (
    PLACES,
    accuracy_by_lesion_place,
    kept_rows,
    lesion_places,
)


def test_the_paper_s_layout_keeps_the_top_of_red_and_the_bottom_of_blue():
    # [CLS] and 255 of red: 8 rows less a pixel. 256 less 24 and two [SEP]: 7 rows and 6 pixels.
    assert np.flatnonzero(~kept_rows()).tolist() == list(range(8, 24))


def test_an_image_s_place_is_that_of_its_lesions_centres():
    by_name = {name: marks for name, marks in lesions(32).items() if marks}
    name, marks = next(iter(by_name.items()))
    rows = [int(lesion.y * 32) for lesion in marks]
    everything, nothing = np.ones(32, bool), np.zeros(32, bool)
    one = np.arange(32) == rows[0]
    healthy = next(other for other, marks in lesions(32).items() if not marks)
    assert lesion_places([healthy, name], 32, everything).tolist() == [0, 3]
    assert lesion_places([name], 32, nothing).tolist() == [1]
    assert lesion_places([name], 32, one).tolist() == [3 if set(rows) == {rows[0]} else 2]


def test_accuracies_are_counts_of_each_place():
    records = phantom(32).split("test")
    always_positive = np.tile([0.25, 0.75], (len(records), 1))
    rows = accuracy_by_lesion_place(always_positive, records, 32)
    assert tuple(rows) == PLACES
    assert sum(row["n"] for row in rows.values()) == len(records)
    assert (rows["no lesion"]["correct"], rows["no lesion"]["accuracy"]) == (0, 0.0)
    for place in PLACES[1:]:
        assert rows[place]["correct"] == rows[place]["n"]
        assert rows[place]["accuracy"] == (1.0 if rows[place]["n"] else None)
