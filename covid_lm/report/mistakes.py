"""The images of which the model was surest, and wrong."""

from collections.abc import Sequence

import numpy as np

from covid_lm.data.tokens import DecodedRecords
from covid_lm.html_page import elided, escaped
from covid_lm.report.pictures import thumbnail

MAX_MISTAKES = 8


def worst_mistakes(probabilities: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """Indices of the wrong answers of the highest probability, highest first: int [<= count].

    Args:
        probabilities: float32 [n, classes].
        labels: int [n].
    """
    answers = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(answers != labels)
    order = np.argsort(-probabilities[wrong, answers[wrong]], kind="stable")
    return wrong[order[:count]]


def surest_right(probabilities: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """As `worst_mistakes`, of the right answers."""
    right = np.flatnonzero(probabilities.argmax(axis=1) == labels)
    order = np.argsort(-probabilities[right, labels[right]], kind="stable")
    return right[order[:count]]


def answer_text(probabilities: np.ndarray, label: int, classes: Sequence[str]) -> str:
    """One image's answer and truth in words.

    Args:
        probabilities: float32 [classes].
    """
    answer = int(np.argmax(probabilities))
    predicted = f"predicted {classes[answer]} ({probabilities[answer]:.3f})"
    if answer == label:
        return f"{predicted}, right"
    return f"{predicted}, true {classes[label]} ({probabilities[label]:.3f})"


def mistakes_section(
    images: DecodedRecords, probabilities: np.ndarray, classes: Sequence[str]
) -> str:
    """The worst mistakes with their thumbnails."""
    labels = np.array([record.label for record in images.records])
    worst = worst_mistakes(probabilities, labels, MAX_MISTAKES)
    heading = '<h2 id="mistakes">Worst mistakes</h2>'
    if not len(worst):
        return f"{heading}<p>None: every image was classified correctly.</p>"
    figures = []
    for index in worst:
        record = images.records[index]
        text = answer_text(probabilities[index], record.label, classes)
        figures.append(
            f'<li><figure><img class="thumbnail" alt="{escaped(record.filename)}" '
            f'src="{thumbnail(record, images.pixels[index])}"/>'
            f"<figcaption>{escaped(elided(record.filename))}<br/>{escaped(text)}</figcaption>"
            "</figure></li>"
        )
    return (
        f'{heading}<p class="dim">The wrong answers of the highest probability, highest first.'
        f'</p><ul class="gallery">{"".join(figures)}</ul>'
    )
