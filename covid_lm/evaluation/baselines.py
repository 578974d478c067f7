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
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from covid_lm.data.records import ImageRecord, encoded_filename
from covid_lm.models.logistic_head import with_penalty
from covid_lm.pipeline.tokenized import TokenizedRecords

Baseline = Literal["logistic_regression", "random_forest"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
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
        kind: `logistic_regression` on standardized numbers, its penalty chosen by
            `with_penalty`; or `random_forest` with 500 trees.
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
        model = with_penalty(model, train.labels, patients, seed)
    model.fit(columns, train.labels)
    probabilities = np.zeros((len(test.labels), num_classes))
    probabilities[:, model.classes_] = model.predict_proba(test_columns)
    return probabilities


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
