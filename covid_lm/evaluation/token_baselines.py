"""The unigram baseline of masked-token prediction: every word guessed by its frequency.

It is fitted on the training sequences and scored on every word that could be masked, which is the
mean over all maskings. A model that is not better than it has learned nothing.
"""

import math

import numpy as np


def trivial_figures(
    counts: dict[str, np.ndarray],
) -> dict[str, dict[str, dict[str, float | None]]]:
    """{"unigram": `figures`} of each split, fitted on "train".

    Args:
        counts: split to `count_words` of its sequences, int [2, words].
    """
    frequencies = counts["train"].sum(axis=0) + 1
    probabilities = frequencies / frequencies.sum()
    return {split: {"unigram": figures(c, probabilities)} for split, c in counts.items()}


def count_words(tokens: dict[str, np.ndarray], word_ids: np.ndarray) -> np.ndarray:
    """Count each word of a split in the image and in the file name: int [2, words]."""
    token_ids, segments = tokens["token_ids"], tokens["segment_ids"]
    size = 1 + max(token_ids.max(), word_ids.max())
    kinds = [np.bincount(token_ids[segments == kind], minlength=size) for kind in (0, 1)]
    return np.stack(kinds)[:, word_ids]


def figures(counts: np.ndarray, probabilities: np.ndarray) -> dict[str, float | None]:
    """Score a unigram that gives each word its probability, float64 [words].

    Args:
        counts: of `count_words`, int [2, words].

    Returns:
        `loss` in nats, `perplexity`, `accuracy`, `image_accuracy` and `name_accuracy`; the latter
        two are None where a split has no such word.
    """
    totals = counts.sum(axis=1)
    correct = counts[:, np.argmax(probabilities)]
    loss = -float(counts.sum(axis=0) @ np.log(probabilities)) / int(totals.sum())
    image, name = (float(c / n) if n else None for c, n in zip(correct, totals, strict=True))
    return {
        "loss": loss,
        "perplexity": math.exp(loss),
        "accuracy": float(correct.sum() / totals.sum()),
        "image_accuracy": image,
        "name_accuracy": name,
    }
