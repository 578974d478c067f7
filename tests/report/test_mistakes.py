"""The choice of the images that are shown, and their captions."""

import numpy as np

from covid_lm.report.measures import answer_text, most_confident

PROBABILITIES = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.7, 0.3], [0.5, 0.5]], np.float32)
LABELS = np.array([1, 0, 1, 0, 1])


def test_the_most_confident_wrong_answers_come_first():
    assert most_confident(PROBABILITIES, LABELS, False, 8).tolist() == [0, 1, 4]
    assert most_confident(PROBABILITIES, LABELS, False, 1).tolist() == [0]
    assert most_confident(PROBABILITIES, PROBABILITIES.argmax(1), False, 8).tolist() == []


def test_the_most_confident_correct_answers_come_first():
    assert most_confident(PROBABILITIES, LABELS, True, 8).tolist() == [2, 3]


def test_answers_in_words():
    classes = ("cat", "dog")
    wrong = "predicted cat (0.900), true class dog (0.100)"
    assert answer_text(PROBABILITIES[0], 1, classes) == wrong
    assert answer_text(PROBABILITIES[2], 1, classes) == "predicted dog (0.800), correct"
