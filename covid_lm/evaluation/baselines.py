"""Baselines that use no language model: classifiers on the tokens, and a tree on the name's length.

The token baselines see the token ids that the model sees, each position as two columns. The number
is the value of the words "0" to "255" divided by 255, and 0 for any other word. The word is one-hot
encoded, with all numbers as one category. A digit in the file name is the same word as that number
in the image, so it counts as a number, too. Columns that are constant in the training sequences
are left out; a word that training has not shown at a position is ignored there.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from covid_lm.data.records import ImageRecord, encoded_filename
from covid_lm.data.splits import class_groups, patient_groups, stratified_folds
from covid_lm.pipeline.tokenized import TokenizedRecords

Baseline = Literal["logistic_regression", "random_forest"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
FOLDS = 5
INVERSE_PENALTIES = tuple(10.0**exponent for exponent in range(-5, 1))
NUM_TREES = 500
DEPTH = 3
NAMELESS_POLICIES = ("fixed", "absent")  # the sequence is the same whatever the name
_NUMBER = -1  # category of all numbers in a column of words


def baseline_probabilities(
    kind: Baseline,
    train: TokenizedRecords,
    test: TokenizedRecords,
    num_classes: int,
    vocabulary: Sequence[str],
    patients: Sequence[str | None] | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Fit a classifier on the token ids that the model sees, and predict others.

    Args:
        kind: `logistic_regression` on standardized numbers, its penalty chosen by accuracy in a
            `penalty_folds` cross-validation (scikit-learn's default if there are no such folds);
            or `random_forest` with 500 trees.
        train: at least one sequence.
        test: sequences to predict.
        num_classes: of the data set.
        vocabulary: the words; a word's index is its id.
        patients: of the training sequences, None where unknown; all unknown by default.
        seed: of folds and trees.

    Returns:
        Probabilities, float [test, num_classes]; 0 for a class without a training sequence. If
        all training sequences are equal, or of one class, the classes' shares in training.

    Raises:
        ValueError: unknown kind, or the number of patients is not that of training sequences.
    """
    if kind not in BASELINES:
        raise ValueError(f"kind {kind!r}: choose logistic_regression or random_forest")
    patients = [None] * len(train.labels) if patients is None else patients
    if len(patients) != len(train.labels):
        raise ValueError(f"{len(patients)} patients for {len(train.labels)} training sequences")
    columns, test_columns = (
        _numbers_and_words(split.tokens["token_ids"], vocabulary) for split in (train, test)
    )
    varying = (columns != columns[:1]).any(axis=0)
    shares = np.bincount(train.labels, minlength=num_classes) / len(train.labels)
    if not varying.any() or shares.max() == 1:
        return np.tile(shares, (len(test.labels), 1))
    if kind == "logistic_regression":
        folds = penalty_folds(train.labels, patient_groups(patients), seed)
        model = _logistic_regression(varying, folds)
    else:
        forest = RandomForestClassifier(n_estimators=NUM_TREES, random_state=seed, n_jobs=-1)
        model = make_pipeline(_encoder(varying, "passthrough"), forest)
    model.fit(columns, train.labels)
    probabilities = np.zeros((len(test.labels), num_classes))
    if len(test.labels):
        probabilities[:, model.classes_] = model.predict_proba(test_columns)
    return probabilities


def _numbers_and_words(token_ids: np.ndarray, vocabulary: Sequence[str]) -> np.ndarray:
    """The number at each position, then the word's id at each: float64 [n, 2 * positions]."""
    decimal = {str(value): value / 255 for value in range(256)}
    values = np.array([decimal.get(word, np.nan) for word in vocabulary])
    numbers = values[token_ids]
    words = np.where(np.isnan(numbers), token_ids, _NUMBER)
    return np.concatenate([np.nan_to_num(numbers), words], axis=1)


def _encoder(varying: np.ndarray, numbers: BaseEstimator | str) -> ColumnTransformer:
    """Encode the varying columns: the first half by `numbers`, the other half one-hot."""
    chosen, positions = np.flatnonzero(varying), len(varying) // 2
    words = OneHotEncoder(handle_unknown="ignore")
    return ColumnTransformer(
        [
            ("numbers", numbers, chosen[chosen < positions]),
            ("words", words, chosen[chosen >= positions]),
        ]
    )


def _logistic_regression(
    varying: np.ndarray, folds: list[tuple[np.ndarray, np.ndarray]]
) -> BaseEstimator:
    model = make_pipeline(_encoder(varying, StandardScaler()), LogisticRegression(max_iter=2000))
    if not folds:
        return model
    penalties = {"logisticregression__C": INVERSE_PENALTIES}
    return GridSearchCV(model, penalties, cv=folds, error_score="raise")


def penalty_folds(
    labels: np.ndarray, groups: np.ndarray, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """At most five (fitted, held out) pairs of indices, with no group on both sides.

    Every class is among the fitted images. Empty if a class has a single group.

    Args:
        labels, groups: int [n].
    """
    present, labels = np.unique(labels, return_inverse=True)
    num_folds = min(FOLDS, *class_groups(labels, groups, len(present)))
    if num_folds < 2:
        return []
    folds = stratified_folds(labels, groups, num_folds, seed)
    pairs = [(np.setdiff1d(np.arange(len(labels)), held_out), held_out) for held_out in folds]
    return [pair for pair in pairs if len(np.unique(labels[pair[0]])) == len(present)]


def name_length_baseline(
    train: Sequence[ImageRecord], test: Sequence[ImageRecord], num_classes: int
) -> np.ndarray:
    """A decision tree of depth 3 on the number of bytes of the file name, extension included.

    Args:
        train: records to fit on, at least one.
        test: records to predict.
        num_classes: of the data set.

    Returns:
        Probabilities, float [test, classes]; 0 for a class without a training record.
    """
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
    """One sentence if the name's length alone is correct as often as the model, else None.

    Args:
        model_row: `classification_metrics` of the model, with its `test_policy` if there is one.
        name_row: those of `name_length_baseline` on the same split.
    """
    if not model_row["n"] or not name_row["n"]:
        return None
    if name_row["correct"] * model_row["n"] < model_row["correct"] * name_row["n"]:
        return None
    name = f"The length of the file name alone gives {name_row['correct']}/{name_row['n']}"
    model = f"{model_row['correct']}/{model_row['n']}"
    if model_row.get("test_policy") in NAMELESS_POLICIES:
        return f"{name}: no less than the {model} of a model that cannot see it."
    return f"{name}: the model's {model} is no evidence that it looks at the picture."
