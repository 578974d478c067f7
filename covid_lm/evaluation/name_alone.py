"""What the length of the file name scores without a look at the picture."""

from collections.abc import Sequence

import numpy as np
from sklearn.tree import DecisionTreeClassifier

from covid_lm.data.records import ImageRecord
from covid_lm.data.tokens import encoded_filename

DEPTH = 3
HIDING_POLICIES = ("fixed", "absent")  # under these the sequence is the same whatever the name


def name_length_tree(
    train: Sequence[ImageRecord], test: Sequence[ImageRecord], num_classes: int | None = None
) -> np.ndarray:
    """A decision tree of depth 3 on the number of bytes of the file name, extension included.

    Args:
        train: what it is fitted on, at least one.
        test: what it is asked about.
        num_classes: of the data set; as many as the records' labels show unless given.

    Returns:
        Probabilities, float [test, classes]; 0 for a class without a training record.
    """
    if num_classes is None:
        num_classes = 1 + max(record.label for record in (*train, *test))
    probabilities = np.zeros((len(test), num_classes))
    if not test:
        return probabilities
    tree = DecisionTreeClassifier(max_depth=DEPTH, random_state=0)
    tree.fit(_lengths(train), [record.label for record in train])
    probabilities[:, tree.classes_] = tree.predict_proba(_lengths(test))
    return probabilities


def _lengths(records: Sequence[ImageRecord]) -> np.ndarray:
    return np.array([[len(encoded_filename(record))] for record in records])


def headline(model_row: dict, name_row: dict) -> str | None:
    """One sentence where the name alone is right as often as the model, else None.

    Args:
        model_row: `classification_metrics` of the model, with the `test_policy` where there is
            one.
        name_row: those of `name_length_tree` on the same split.
    """
    if not model_row["n"] or not name_row["n"]:
        return None
    if name_row["correct"] * model_row["n"] < model_row["correct"] * name_row["n"]:
        return None
    name = f"The length of the file name alone gives {name_row['correct']}/{name_row['n']}"
    model = f"{model_row['correct']}/{model_row['n']}"
    if model_row.get("test_policy") in HIDING_POLICIES:
        return f"{name}: no less than the {model} of a model that cannot see it."
    return f"{name}: the model's {model} is no evidence that it looks at the picture."
