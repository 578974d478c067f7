"""What the tokens tell classifiers that know nothing of language: two floors for the model.

They see the very token ids that the model sees. A position is two columns. The number: the value of
the words "0" to "255" as a share of 255, and 0 under any other word. The word: one-hot, all numbers
being one and the same. A digit of the file name is a number too, being the same word to the model.
Columns that are equal in all training sequences are left out; a word that training hasn't shown at
a position is no column.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from covid_lm.data.records import ImageRecord, encoded_filename
from covid_lm.pipeline.decoded import TokenizedRecords

Floor = Literal["logistic_regression", "random_forest"]
FLOORS: tuple[Floor, ...] = get_args(Floor)
FOLDS = 5
INVERSE_PENALTIES = tuple(10.0**exponent for exponent in range(-5, 1))
NUM_TREES = 500
_NUMBER = -1  # in a column of words: here stands a number


def floor_probabilities(
    kind: Floor,
    train: TokenizedRecords,
    test: TokenizedRecords,
    num_classes: int,
    vocabulary: Sequence[str],
    patients: Sequence[str | None] | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Fits a classifier on the very token ids that the model sees, and asks it about others.

    Args:
        kind: `logistic_regression`, on standardized numbers, its penalty chosen by the accuracy
            of a five-fold cross-validation on the training sequences that keeps the images of a
            patient in one fold and the shares of the classes alike (scikit-learn's own penalty
            where a class has a single patient); or `random_forest`, 500 trees.
        train: at least one sequence.
        num_classes: of the data set.
        vocabulary: the words; a word's index is its id.
        patients: of the training sequences, None where unknown: such images count as one each.
        seed: of folds and trees.

    Returns:
        Probabilities, float [test, num_classes]; 0 for a class without a training sequence. Where
        all training sequences are equal, or of one class, the shares of the classes in training.

    Raises:
        ValueError: no such kind, or not a patient for each training sequence.
    """
    if kind not in FLOORS:
        raise ValueError(f"kind {kind!r}: choose logistic_regression or random_forest")
    groups = _groups(patients, len(train.labels))
    columns, asked = (
        _numbers_and_words(split.tokens["token_ids"], vocabulary) for split in (train, test)
    )
    varying = (columns != columns[:1]).any(axis=0)
    shares = np.bincount(train.labels, minlength=num_classes) / len(train.labels)
    if not varying.any() or shares.max() == 1:
        return np.tile(shares, (len(test.labels), 1))
    if kind == "logistic_regression":
        model = _logistic_regression(columns, varying, train.labels, groups, seed)
    else:
        model = _random_forest(varying, seed).fit(columns, train.labels)
    probabilities = np.zeros((len(test.labels), num_classes))
    if len(test.labels):
        probabilities[:, model.classes_] = model.predict_proba(asked)
    return probabilities


def _groups(patients: Sequence[str | None] | None, count: int) -> np.ndarray:
    """Each sequence's patient as a number, int [count]; one of its own where unknown."""
    patients = [None] * count if patients is None else patients
    if len(patients) != count:
        raise ValueError(f"{len(patients)} patients for {count} training sequences")
    keys = [
        ("image", index) if patient is None else ("patient", patient)
        for index, patient in enumerate(patients)
    ]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys])


def _numbers_and_words(token_ids: np.ndarray, vocabulary: Sequence[str]) -> np.ndarray:
    """float64 [n, 2 * positions]: the number at each position, then the word's id at each."""
    values = np.full(len(vocabulary), np.nan)
    decimal = {str(value): value / 255 for value in range(256)}
    for token_id, word in enumerate(vocabulary):
        values[token_id] = decimal.get(word, np.nan)
    numbers = values[token_ids]
    words = np.where(np.isnan(numbers), token_ids, _NUMBER)
    return np.concatenate([np.nan_to_num(numbers), words], axis=1)


def _columns(varying: np.ndarray, numbers: BaseEstimator | str) -> ColumnTransformer:
    chosen, positions = np.flatnonzero(varying), len(varying) // 2
    words = OneHotEncoder(handle_unknown="ignore")
    return ColumnTransformer(
        [
            ("numbers", numbers, chosen[chosen < positions]),
            ("words", words, chosen[chosen >= positions]),
        ]
    )


def _random_forest(varying: np.ndarray, seed: int) -> BaseEstimator:
    return make_pipeline(
        _columns(varying, "passthrough"),
        RandomForestClassifier(n_estimators=NUM_TREES, random_state=seed, n_jobs=-1),
    )


def _logistic_regression(
    columns: np.ndarray, varying: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int
) -> BaseEstimator:
    model = make_pipeline(_columns(varying, StandardScaler()), LogisticRegression(max_iter=2000))
    splits = patient_folds(labels, groups, seed)
    if not splits:
        return model.fit(columns, labels)
    search = GridSearchCV(
        model, {"logisticregression__C": INVERSE_PENALTIES}, cv=splits, error_score="raise"
    )
    return search.fit(columns, labels)


def patient_folds(
    labels: np.ndarray, groups: np.ndarray, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """At most five (fitted, held out) pairs of indices that no group is on both sides of.

    Every class is among the fitted. None at all where a class has a single group.

    Args:
        labels: int [n].
        groups: int [n].
    """
    classes = np.unique(labels)
    rarest = min(len(np.unique(groups[labels == label])) for label in classes)
    if rarest < 2:
        return []
    folds = StratifiedGroupKFold(min(FOLDS, rarest), shuffle=True, random_state=seed)
    return [
        (fitted, held_out)
        for fitted, held_out in folds.split(np.zeros(len(labels)), labels, groups)
        if len(np.unique(labels[fitted])) == len(classes)
    ]


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
