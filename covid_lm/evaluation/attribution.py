"""Integrated gradients over word embeddings (Sundararajan, Taly and Yan 2017).

Each word, which is a token or one byte of a patch, gets the integral of its gradient along the
straight line from a baseline to the sequence, in the space of embeddings. On the baseline every
word except those of [CLS] is [PAD], and every token belongs to the first segment; positions and the
padding mask are those of the sequence. The attributions add up to the change of the margin
(completeness). Segment embeddings are part of the path, so the start of the second segment, which
depends on the name's length, counts for the name's tokens.
"""

import dataclasses
import functools
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.models.word_gradients import margin_gradients

SMALL_CHANGE = 0.1
POINTS, MOST_POINTS = 8, 72  # for a part of the path, and for all
BATCH = 4  # points at a time: the gradient of a 24-layer model takes gigabytes for each


@dataclasses.dataclass(frozen=True)
class Attribution:
    """Contribution of each token of one image to the margin of a class.

    The margin is the class's logit minus the mean of the other classes' logits; for two classes
    these are the log odds.

    Attributes:
        words: float64 [length], or [length, bytes] with patches, whose first byte includes the
            contribution of the token's segment.
        margin: of the sequence.
        baseline_margin: of the baseline.
        points: number of points at which the gradient was computed.
    """

    words: np.ndarray
    margin: float
    baseline_margin: float
    points: int

    @property
    def tokens(self) -> np.ndarray:
        """Contribution of each token, float64 [length]."""
        return self.words if self.words.ndim == 1 else self.words.sum(axis=1)

    @property
    def error(self) -> float:
        """Absolute difference between the words' sum and the change of the margin."""
        return abs(float(self.words.sum()) - (self.margin - self.baseline_margin))


class IntegratedGradients:
    """Attribution of a classifier's margins to tokens, in float32 under any dtype policy.

    The gradients are one graph function, traced at the first image: the four images of a report on
    1x128 take 1.3 s, where they took 4.6 s eagerly. So the classifier's weights must not change.

    Args:
        classifier: trained; its weights may be fixed.
    """

    def __init__(self, classifier: TokenClassifier) -> None:
        self.classifier = classifier
        self._gradients = tf.function(
            functools.partial(margin_gradients, classifier), autograph=False, reduce_retracing=True
        )

    def __call__(
        self, tokens: dict[str, np.ndarray], target: int, tolerance: float = 0.01
    ) -> Attribution:
        """Attributes one image's margin to its tokens.

        The change of the margin over each part of the path is known exactly, so the part with the
        largest error of its Gauss-Legendre sum is halved, until the total error is within
        `tolerance` or the gradient was computed at `MOST_POINTS` points.

        Args:
            tokens: `token_ids`, `segment_ids` and `padding_mask`, int32 [1, length].
            target: index of the class.
            tolerance: allowed error relative to the margin's change, or to 0.1 if that is larger.
        """
        path = _Path(self._gradients, *_ends(self.classifier, tokens), tokens, target)
        places, margins = [0.0, 1.0], path.at(np.array([0.0, 1.0]))[0].astype(float).tolist()
        shares, points = [path.shares_between(0.0, 1.0)], POINTS
        allowed = tolerance * max(abs(margins[1] - margins[0]), SMALL_CHANGE)
        while True:
            sums = np.array([share.sum() for share in shares])
            errors = np.abs(sums - np.diff(margins))
            if errors.sum() <= allowed or points + 2 * POINTS > MOST_POINTS:
                return Attribution(np.sum(shares, axis=0), margins[-1], margins[0], points)
            worst = int(np.argmax(errors))
            low, high = places[worst : worst + 2]
            middle = (low + high) / 2
            places.insert(worst + 1, middle)
            margins.insert(worst + 1, float(path.at(np.array([middle]))[0][0]))
            halves = path.shares_between(low, middle), path.shares_between(middle, high)
            shares[worst : worst + 1] = halves
            points += 2 * POINTS


@dataclasses.dataclass(frozen=True)
class _Path:
    """The straight line between two pairs of embeddings, of words and of segments."""

    gradients: Callable
    start: tuple[np.ndarray, np.ndarray]
    end: tuple[np.ndarray, np.ndarray]
    tokens: dict[str, np.ndarray]
    target: int

    @functools.cached_property
    def changes(self) -> list[np.ndarray]:
        return [after - before for before, after in zip(self.start, self.end, strict=True)]

    def at(self, places: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        """Margins, float32 [places], and their gradients, of embeddings of words and segments."""
        words, segments = (
            tf.constant(before + places.reshape(-1, *[1] * (change.ndim - 1)) * change, tf.float32)
            for before, change in zip(self.start, self.changes, strict=True)
        )
        mask = tf.tile(self.tokens["padding_mask"], [len(places), 1])
        margins, _, *slopes = self.gradients(words, segments, mask, tf.constant(self.target))
        return margins.numpy(), [slope.numpy() for slope in slopes]

    def shares_between(self, low: float, high: float) -> np.ndarray:
        """The words' integrals over a part of the path, by one Gauss-Legendre sum."""
        nodes, weights = np.polynomial.legendre.leggauss(POINTS)  # on [-1, 1]
        words, segments = (np.zeros(change.shape[1:-1]) for change in self.changes)
        for first in range(0, POINTS, BATCH):
            chosen = slice(first, first + BATCH)
            _, slopes = self.at(low + (high - low) * (nodes[chosen] + 1) / 2)
            for share, slope, change in zip((words, segments), slopes, self.changes, strict=True):
                moved = np.sum(slope.astype(np.float64) * change, axis=-1)
                share += np.tensordot(weights[chosen] / 2 * (high - low), moved, 1)
        if words.ndim == 1:
            return words + segments
        words[:, 0] += segments
        return words


def _ends(
    classifier: TokenClassifier, tokens: dict
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Embeddings of words and segments, of the baseline and of the sequence.

    Returns:
        Two pairs: float32 [1, length, hidden], with patches [1, length, bytes, width], and float32
        [1, length, hidden].
    """
    table = np.asarray(
        keras.ops.convert_to_tensor(classifier.backbone.segment_embedding.embeddings), np.float32
    )
    ids, segments = np.asarray(tokens["token_ids"]), np.asarray(tokens["segment_ids"])
    blank = np.full_like(ids, classifier.vocabulary.index("[PAD]"))
    blank[:, 0] = ids[:, 0]
    words, none = (np.asarray(classifier.encoder.embed_words(i), np.float32) for i in (ids, blank))
    return (none, table[np.zeros_like(segments)]), (words, table[segments])
