"""Baselines that use no language model: classifiers on the tokens, and a tree on the name's length.

The token baselines see the token ids that the model sees, each position as two columns. The number
is the value of the words "0" to "255" divided by 255 (a digit in the file name, too), and 0 for any
other word. The word is one-hot encoded, with all numbers as one category. Columns that are constant
in the training sequences are left out; a word absent from training at a position is ignored there.
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from covid_lm.data.records import ImageRecord, encoded_filename
from covid_lm.data.splits import class_groups, patient_groups
from covid_lm.pipeline.tokenized import TokenizedRecords

Baseline = Literal["logistic_regression", "random_forest"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
FOLDS = 5
INVERSE_PENALTIES = tuple(10.0**exponent for exponent in range(-5, 1))
NUM_TREES = 500
DEPTH = 3
_NUMBER = -1  # category of all numbers in a column of words


def baseline_probabilities(
    kind: Baseline,
    train: TokenizedRecords,
    test: TokenizedRecords,
    num_classes: int,
    vocabulary: Sequence[str],
    patients: Sequence[str | None],
    seed: int = 0,
) -> np.ndarray:
    """Fit a classifier on the token ids that the model sees, and predict others.

    Args:
        kind: `logistic_regression` on standardized numbers, its penalty chosen by accuracy in a
            `penalty_folds` cross-validation (scikit-learn's default if there are no such folds);
            or `random_forest` with 500 trees.
        train, test: at least one sequence each.
        num_classes: of the data set.
        vocabulary: the words; a word's index is its id.
        patients: of the training sequences, None where unknown.
        seed: of folds and trees.

    Returns:
        Probabilities, float [test, num_classes]; 0 for a class without a training sequence. If
        all training sequences are equal, or of one class, the classes' shares in training.
    """
    columns, test_columns = (
        _numbers_and_words(split.tokens["token_ids"], vocabulary) for split in (train, test)
    )
    varying = (columns != columns[:1]).any(axis=0)
    shares = np.bincount(train.labels, minlength=num_classes) / len(train.labels)
    if not varying.any() or shares.max() == 1:
        return np.tile(shares, (len(test.labels), 1))
    if kind == "random_forest":
        forest = RandomForestClassifier(n_estimators=NUM_TREES, random_state=seed, n_jobs=-1)
        model = _pipeline(varying, "passthrough", forest)
    else:
        model = _pipeline(varying, StandardScaler(), LogisticRegression(max_iter=2000))
        model = _with_penalty(model, train.labels, patients, seed)
    model.fit(columns, train.labels)
    probabilities = np.zeros((len(test.labels), num_classes))
    probabilities[:, model.classes_] = model.predict_proba(test_columns)
    return probabilities


def feature_probabilities(
    features: np.ndarray,
    labels: np.ndarray,
    test_features: np.ndarray,
    num_classes: int,
    patients: Sequence[str | None],
    seed: int = 0,
) -> np.ndarray:
    """Fit a logistic regression on standardized features, and predict others.

    The penalty is chosen as for `baseline_probabilities`.

    Args:
        features, test_features: float [n, width] and [m, width].
        labels: int [n], of two classes at least.
        num_classes: of the data set.
        patients: of the first images, None where unknown.
        seed: of the folds.

    Returns:
        Probabilities, float [m, num_classes]; 0 for a class without a label.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model = _with_penalty(model, labels, patients, seed)
    model.fit(features.astype(np.float64), labels)
    probabilities = np.zeros((len(test_features), num_classes))
    probabilities[:, model.classes_] = model.predict_proba(test_features.astype(np.float64))
    return probabilities


def _with_penalty(
    model: Pipeline, labels: np.ndarray, patients: Sequence[str | None], seed: int
) -> Pipeline | GridSearchCV:
    """The model with a search for its penalty by accuracy, if `penalty_folds` are possible."""
    folds = penalty_folds(labels, patient_groups(patients), seed)
    if not folds:
        return model
    penalties = {"logisticregression__C": INVERSE_PENALTIES}
    return GridSearchCV(model, penalties, cv=folds, error_score="raise")


def _numbers_and_words(token_ids: np.ndarray, vocabulary: Sequence[str]) -> np.ndarray:
    """The number at each position, then the word's id at each: float64 [n, 2 * positions]."""
    decimal = {str(value): value / 255 for value in range(256)}
    values = np.array([decimal.get(word, np.nan) for word in vocabulary])
    numbers = values[token_ids]
    words = np.where(np.isnan(numbers), token_ids, _NUMBER)
    return np.concatenate([np.nan_to_num(numbers), words], axis=1)


def _pipeline(varying: np.ndarray, scaler: object, classifier: object) -> Pipeline:
    """A classifier of the varying columns, the numbers scaled and the words one-hot encoded."""
    numbers, words = np.split(varying, 2)
    encoder = OneHotEncoder(handle_unknown="ignore")
    columns = [
        ("numbers", scaler, np.flatnonzero(numbers)),
        ("words", encoder, len(numbers) + np.flatnonzero(words)),
    ]
    return make_pipeline(ColumnTransformer(columns), classifier)


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
    folds = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    pairs = folds.split(labels, labels, groups)
    return [pair for pair in pairs if len(np.unique(labels[pair[0]])) == len(present)]


def name_length_baseline(
    train: Sequence[ImageRecord], test: Sequence[ImageRecord], num_classes: int
) -> np.ndarray:
    """A decision tree of depth 3 on the number of bytes of the file name, extension included.

    Args:
        train, test: at least one record each.
        num_classes: of the data set.

    Returns:
        Probabilities, float [test, num_classes]; 0 for a class without a training record.
    """
    lengths, test_lengths = (
        [[len(encoded_filename(record))] for record in records] for records in (train, test)
    )
    tree = DecisionTreeClassifier(max_depth=DEPTH, random_state=0)
    tree.fit(lengths, [record.label for record in train])
    probabilities = np.zeros((len(test), num_classes))
    probabilities[:, tree.classes_] = tree.predict_proba(test_lengths)
    return probabilities
