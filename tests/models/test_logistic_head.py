"""The head that is fitted as a logistic regression, beside scikit-learn's own."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from covid_lm.data.splits import patient_groups
from covid_lm.models.logistic_head import (
    INVERSE_PENALTIES,
    log_likelihood,
    logistic_head,
    penalty_folds,
)


def vectors(n: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of five numbers of other scales, the first ones further on for higher classes."""
    rng = np.random.default_rng(num_classes)
    labels = np.arange(n) % num_classes
    features = rng.standard_normal((n, 5))
    features[:, 0] += labels
    return features * (1, 10, 0.1, 3, 1) + (5, -4, 0, 1, 2), labels


@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_head_gives_the_regression_s_probabilities(num_classes):
    features, labels = vectors(30, num_classes)
    patients = [f"p{label}" for label in labels]  # one per class: no folds, the default penalty
    kernel, bias = logistic_head(features, labels, num_classes, patients)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    expected = model.fit(features, labels).predict_proba(features)
    found = softmax(features @ kernel + bias, axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_head_is_the_mean_over_the_penalty_that_each_fold_prefers():
    features, labels = vectors(60, 2)
    labels = np.where(np.arange(60) % 7 == 0, 1 - labels, labels)  # some are wrong
    folds = penalty_folds(labels, patient_groups([None] * 60), seed=3)
    standardized = [
        make_pipeline(StandardScaler(), LogisticRegression(C=c)) for c in INVERSE_PENALTIES
    ]
    logits, chosen = [], set()
    for fitted, held_out in folds:
        losses = []
        for model in standardized:
            model.fit(features[fitted], labels[fitted])
            probabilities = model.predict_proba(features[held_out])
            losses.append(-np.log(probabilities[range(len(held_out)), labels[held_out]]).mean())
        chosen.add(best := int(np.argmin(losses)))
        logits.append(standardized[best].fit(features, labels).decision_function(features))
    assert len(chosen) > 1
    kernel, bias = logistic_head(features, labels, 2, [None] * 60, seed=3)
    found = (features @ kernel + bias) @ [-1, 1]
    np.testing.assert_allclose(found, np.mean(logits, axis=0), atol=1e-4)


@pytest.mark.parametrize("present", [(0, 2), (0, 1, 3)])
def test_a_class_without_an_image_gets_no_probability(present):
    features, labels = vectors(30, len(present))
    kernel, bias = logistic_head(features, np.array(present)[labels], 4, [None] * 30)
    found = softmax(features @ kernel + bias, axis=1)
    absent = np.setdiff1d(range(4), present)
    assert found[:, absent].max() < 1e-30
    assert set(found.argmax(axis=1)) <= set(present)


class Fixed:
    """A model of three classes with given probabilities."""

    classes_ = np.array([0, 1, 2])

    def __init__(self, probabilities: list[list[float]]):
        self.probabilities = np.array(probabilities)

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        return self.probabilities


@pytest.mark.parametrize("labels", [[0, 1, 2, 1], [1, 1, 1, 1]])
def test_the_score_is_the_mean_log_probability_of_the_labels(labels):
    probabilities = [[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.1, 0.4, 0.5], [0.3, 0.35, 0.35]]
    expected = np.mean(
        [np.log(row[label]) for row, label in zip(probabilities, labels, strict=True)]
    )
    found = log_likelihood(Fixed(probabilities), np.zeros((4, 1)), np.array(labels))
    assert found == pytest.approx(expected)
