"""The token baselines on generated tokens: they find informative positions, not noise."""

import numpy as np
import pytest

from covid_lm.evaluation import baselines
from covid_lm.evaluation.baselines import baseline_probabilities
from covid_lm.models import logistic_head
from covid_lm.models.logistic_head import penalty_folds
from covid_lm.pipeline.tokenized import TokenizedRecords

pytestmark = pytest.mark.filterwarnings("error")

KINDS = ("logistic_regression", "random_forest")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Ids are not in the order of the values, so a classifier on ids alone finds no order.
NUMBERS = tuple(str(value * 77 % 256) for value in range(256))
VOCABULARY = (*SPECIAL, *"abcdefgh", *NUMBERS)
IDS = {word: token_id for token_id, word in enumerate(VOCABULARY)}
LENGTH = 12


def split(n: int, seed: int, num_classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Token ids of noise, [CLS], ten numbers and [SEP], and labels."""
    rng = np.random.default_rng(seed)
    number_ids = np.array([IDS[str(value)] for value in range(256)])
    token_ids = number_ids[rng.integers(0, 256, (n, LENGTH))]
    token_ids[:, 0], token_ids[:, -1] = IDS["[CLS]"], IDS["[SEP]"]
    return token_ids, np.arange(n) % num_classes


def tokenized(token_ids: np.ndarray, labels: np.ndarray) -> TokenizedRecords:
    return TokenizedRecords({"token_ids": token_ids.astype(np.int32)}, labels.astype(np.int32))


def accuracy(kind: str, change, num_classes: int = 2) -> float:
    """Accuracy of a baseline on 120 + 100 sequences of noise, changed in place."""
    records = []
    for n, seed in ((120, 0), (100, 1)):
        token_ids, labels = split(n, seed, num_classes)
        change(token_ids, labels, np.random.default_rng(seed + 10))
        records.append(tokenized(token_ids, labels))
    probabilities = baseline_probabilities(kind, *records, num_classes, VOCABULARY, [None] * 120)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    return float(np.mean(probabilities.argmax(axis=1) == records[1].labels))


@pytest.mark.parametrize("kind", KINDS)
def test_a_brighter_pixel_is_found(kind):
    def brighter(token_ids, labels, rng):
        values = rng.integers(0, 110, len(labels)) + 140 * labels
        token_ids[:, 5] = [IDS[str(value)] for value in values]

    assert accuracy(kind, brighter) >= 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_at_one_position_is_found(kind):
    def word(token_ids, labels, rng):
        token_ids[:, 8] = np.where(labels == 0, IDS["a"], np.where(labels == 1, IDS["b"], IDS["c"]))
        token_ids[:, 9] = rng.permutation(token_ids[:, 8])

    assert accuracy(kind, word, num_classes=3) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_noise_gives_chance_level(kind):
    # 100 tosses of a coin: 35 to 65 in 99.8%
    assert 0.35 <= accuracy(kind, lambda *arguments: None) <= 0.65


def test_the_seed_decides(monkeypatch):
    monkeypatch.setattr(baselines, "NUM_TREES", 20)
    train, test = (tokenized(*split(40, seed)) for seed in (0, 1))
    once, twice, other = (
        baseline_probabilities("random_forest", train, test, 2, VOCABULARY, [None] * 40, seed)
        for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(once, twice)
    assert np.abs(once - other).max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_word_absent_from_training_is_ignored(kind):
    train_ids, labels = split(40, 0)
    train_ids[:, 4] = np.where(labels == 1, IDS["a"], IDS["b"])
    test_ids = train_ids.copy()
    test_ids[:, 4] = IDS["h"]
    train, test = tokenized(train_ids, labels), tokenized(test_ids, labels)
    probabilities = baseline_probabilities(kind, train, test, 4, VOCABULARY, [None] * 40)
    assert probabilities.shape == (40, 4)
    assert probabilities[:, 2:].max() == 0


@pytest.mark.parametrize("kind", KINDS)
def test_equal_sequences_give_the_shares_of_the_classes(kind):
    token_ids, _ = split(8, 0)
    alike = tokenized(np.repeat(token_ids[:1], 8, axis=0), np.array([0, 0, 0, 0, 0, 0, 2, 2]))
    test = tokenized(*split(3, 1))
    expected = [[0.75, 0, 0.25]] * 3
    unknown = [None] * 8
    assert baseline_probabilities(kind, alike, test, 3, VOCABULARY, unknown).tolist() == expected
    one_class = tokenized(token_ids, np.ones(8))
    found = baseline_probabilities(kind, one_class, test, 2, VOCABULARY, unknown)
    assert found.tolist() == [[0, 1]] * 3


def test_no_patient_is_fitted_and_held_out():
    groups = np.arange(60) // 3
    labels = groups % 2
    folds = penalty_folds(labels, groups, seed=0)
    assert sorted(np.concatenate([held_out for _, held_out in folds])) == list(range(60))
    assert len(folds) == 10
    for fitted, held_out in folds:
        assert not set(groups[fitted]) & set(groups[held_out])
        assert set(labels[fitted]) == {0, 1}


def test_the_penalty_is_chosen_over_patients(monkeypatch):
    seen = []
    monkeypatch.setattr(
        logistic_head,
        "penalty_folds",
        lambda labels, groups, seed: seen.append(groups.tolist()) or [],
    )
    records = tokenized(*split(6, 0))
    patients = ["p", "q", None, "p", None, "q"]
    baseline_probabilities(
        "logistic_regression", records, records, 2, VOCABULARY, patients=patients
    )
    assert seen == [[2, 3, 0, 2, 1, 3]]


def test_a_class_of_one_patient_has_no_folds_but_a_baseline():
    labels = np.array([0] * 10 + [1] * 3)
    patients = [*(f"p{i}" for i in range(10)), "q", "q", "q"]
    groups = np.array([*range(10), 10, 10, 10])
    assert penalty_folds(labels, groups, seed=0) == []
    token_ids, _ = split(13, 0)
    train = tokenized(token_ids, labels)
    probabilities = baseline_probabilities(
        "logistic_regression", train, train, 2, VOCABULARY, patients=patients
    )
    assert probabilities.shape == (13, 2)
