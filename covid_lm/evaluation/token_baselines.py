"""What a masked word can be guessed from without a model: how frequent it is, and what stands to
its left. A model that isn't better than these has learned nothing.

Both are fitted on the training sequences, and scored on every word that could have been masked:
the mean over all maskings, without the noise of one.
"""

import dataclasses
import math

import numpy as np
from scipy import optimize


def trivial_figures(
    sequences: dict[str, dict[str, np.ndarray]], word_ids: np.ndarray
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Figures by split and predictor, both fitted on "train".

    Args:
        sequences: by split, as `count_pairs` takes them; "train" is one.
        word_ids: ids of the words that can be masked, int [words].

    Returns:
        For each split {"unigram": {...}, "copy_left": {...}} of `TrivialPredictors.metrics`.
    """
    pairs = {split: count_pairs(tokens, word_ids) for split, tokens in sequences.items()}
    predictors = fit_trivial_predictors(pairs["train"])
    return {split: predictors.metrics(counts) for split, counts in pairs.items()}


def count_pairs(tokens: dict[str, np.ndarray], word_ids: np.ndarray) -> np.ndarray:
    """How often each word follows each other one.

    Args:
        tokens: `token_ids` and `segment_ids`, int [sequences, length].
        word_ids: ids of the words that can be masked, int [words].

    Returns:
        int64 [2, words + 1, words]: by kind (image, name), left neighbour (the last row is for
        anything that can't be masked, such as [CLS]) and word.
    """
    num_words = len(word_ids)
    token_ids = tokens["token_ids"]
    indices = np.full(max(token_ids.max(), word_ids.max()) + 1, num_words)
    indices[word_ids] = np.arange(num_words)
    pairs = np.zeros((2, num_words + 1, num_words), np.int64)
    for row, segments in zip(token_ids, tokens["segment_ids"], strict=True):
        words = indices[row]  # [length]
        left = np.concatenate([[num_words], words[:-1]])
        known = words < num_words
        np.add.at(pairs, (segments[known], left[known], words[known]), 1)
    return pairs


@dataclasses.dataclass(frozen=True)
class TrivialPredictors:
    """The unigram and the "copy the left neighbour" predictor.

    Attributes:
        unigram: probability of each word, float64 [words], from its count plus one.
        copy_weight: c in `c * [word is the left neighbour] + (1 - c) * unigram`, which makes a
            distribution of a predictor that would otherwise give most words a probability of 0.
            Where the left neighbour is none of the words, the unigram stands alone.
    """

    unigram: np.ndarray
    copy_weight: float

    def metrics(self, pairs: np.ndarray) -> dict[str, dict[str, float | None]]:
        """ "unigram" and "copy_left": figures on counts of `count_pairs`, named as the model's.

        The copy reads the true left neighbour, even where the model would see a mask.
        """
        num_words = len(self.unigram)
        words = np.arange(num_words)
        surprise = np.tile(-np.log(self.unigram), (num_words + 1, 1))  # [words + 1, words]
        most_frequent = np.full(num_words + 1, np.argmax(self.unigram))
        copy_surprise = surprise.copy()
        copy_surprise[:-1] -= math.log(1 - self.copy_weight)
        copy_surprise[words, words] = -np.log(
            self.copy_weight + (1 - self.copy_weight) * self.unigram
        )
        neighbours = np.append(words, most_frequent[-1])
        return {
            "unigram": _metrics(pairs, surprise, most_frequent),
            "copy_left": _metrics(pairs, copy_surprise, neighbours),
        }


def fit_trivial_predictors(pairs: np.ndarray) -> TrivialPredictors:
    """Both predictors by maximum likelihood, from counts of `count_pairs`.

    The weight of the copy lies between 0.0001 and 0.9999, so that every word keeps a probability.
    """
    counts = pairs.sum(axis=(0, 1)) + 1
    unigram = counts / counts.sum()
    after_word = pairs[:, :-1].sum(axis=0)  # [words, words]
    same = np.diagonal(after_word)
    others = after_word.sum() - same.sum()

    def surprise(weight: float) -> float:
        return -float(same @ np.log(weight + (1 - weight) * unigram)) - others * math.log(
            1 - weight
        )

    best = optimize.minimize_scalar(surprise, bounds=(1e-4, 1 - 1e-4), method="bounded")
    return TrivialPredictors(unigram, float(best.x))


def _metrics(
    pairs: np.ndarray, surprise: np.ndarray, guesses: np.ndarray
) -> dict[str, float | None]:
    """Of a predictor that knows the left neighbour.

    Args:
        pairs: counts, int [2, words + 1, words].
        surprise: -log probability, float [words + 1, words].
        guesses: the word guessed after each neighbour, int [words + 1].
    """
    totals = pairs.sum(axis=(1, 2))  # [kinds]
    correct = pairs[:, np.arange(len(guesses)), guesses].sum(axis=1)
    loss = float(np.sum(pairs.sum(axis=0) * surprise) / totals.sum())
    image, name = (float(c / n) if n else None for c, n in zip(correct, totals, strict=True))
    return {
        "loss": loss,
        "perplexity": math.exp(loss),
        "accuracy": float(correct.sum() / totals.sum()),
        "image_accuracy": image,
        "name_accuracy": name,
    }
