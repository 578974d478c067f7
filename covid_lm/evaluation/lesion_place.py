"""What the trim costs: how often a lesion is found, by whether the kept rows show it.

Of a phantom's picture the paper's sequence keeps the top rows of red and the bottom rows of blue.
"""

from collections.abc import Sequence

import numpy as np

from covid_lm.backbones.vocabulary import built_in_vocabulary
from covid_lm.data.phantom.dataset import lesions
from covid_lm.data.records import ImageRecord
from covid_lm.evaluation.statistics import wilson_interval
from covid_lm.evaluation.token_positions import token_positions
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.protocols import LAYOUTS

PLACES = ("no lesion", "none in the kept rows", "some in the kept rows", "all in the kept rows")


def kept_rows() -> np.ndarray:
    """Rows of which the paper's layout keeps a pixel beside the `fixed` name's 24, bool [32]."""
    preprocessor = Preprocessor(built_in_vocabulary(), policy="fixed", **LAYOUTS["paper"])
    return np.asarray(token_positions(preprocessor, b"").kept().any(axis=(0, 2)))


def lesion_places(filenames: Sequence[str], num_images: int, kept: np.ndarray) -> np.ndarray:
    """Where each image's lesions have their centres, an index into `PLACES`: int [n].

    Args:
        filenames: of images of `phantom(num_images)`.
        kept: bool [rows], the rows of a picture of any height that a model sees.
    """
    by_name = lesions(num_images)
    places = []
    for filename in filenames:
        seen = [kept[int(lesion.y * len(kept))] for lesion in by_name[filename]]
        places.append(0 if not seen else 1 if not any(seen) else 3 if all(seen) else 2)
    return np.array(places)


def accuracy_by_lesion_place(
    probabilities: np.ndarray, records: Sequence[ImageRecord], num_images: int
) -> dict[str, dict]:
    """Accuracy among the images of each place.

    Args:
        probabilities: float [n, 2], of `records` of `phantom(num_images)`.

    Returns:
        Place to `n`, `correct`, `accuracy` (None of none) and `ci95` (Wilson's, over images).
    """
    correct = np.argmax(probabilities, axis=1) == [record.label for record in records]
    places = lesion_places([record.filename for record in records], num_images, kept_rows())
    rows = {}
    for index, place in enumerate(PLACES):
        hits = correct[places == index]
        rows[place] = {
            "n": len(hits),
            "correct": int(hits.sum()),
            "accuracy": float(hits.mean()) if len(hits) else None,
            "ci95": wilson_interval(int(hits.sum()), len(hits)),
        }
    return rows
