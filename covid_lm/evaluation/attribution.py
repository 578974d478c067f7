"""Integrated gradients over word embeddings (Sundararajan, Taly and Yan 2017).

Each word, which is a token or one byte of a patch, gets the integral of its gradient along the
straight line from a baseline to the sequence, in the space of embeddings. On the baseline every
word except those of [CLS] is [PAD], and every token belongs to the first segment; positions and the
padding mask are those of the sequence. The attributions add up to the change of the margin
(completeness). Segment embeddings are part of the path, so the start of the second segment, which
depends on the name's length, counts for the name's tokens.
"""

import dataclasses

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


def integrated_gradients(
    classifier: TokenClassifier,
    tokens: dict[str, np.ndarray],
    target: int,
    tolerance: float = 0.01,
) -> Attribution:
    """Attribute one image's margin to its tokens, in float32 under any dtype policy.

    The change of the margin over each part of the path is known exactly, so the part with the
    largest error of its Gauss-Legendre sum is halved, until the total error is within `tolerance`
    or the gradient was computed at `MOST_POINTS` points.

    Args:
        tokens: `token_ids`, `segment_ids` and `padding_mask`, int32 [1, length].
        target: index of the class.
        tolerance: allowed error relative to the margin's change, or to 0.1 if that is larger.
    """
    start, end = _ends(classifier, tokens)
    changes = [after - before for before, after in zip(start, end, strict=True)]
    mask = np.asarray(tokens["padding_mask"])

    def at(places: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        points = [
            before + places.reshape(-1, *[1] * (change.ndim - 1)) * change
            for before, change in zip(start, changes, strict=True)
        ]
        return _margins(classifier, points, mask, target)

    def shares_between(low: float, high: float) -> np.ndarray:
        nodes, weights = np.polynomial.legendre.leggauss(POINTS)  # on [-1, 1]
        words, segments = (np.zeros(change.shape[1:-1]) for change in changes)
        for first in range(0, POINTS, BATCH):
            chosen = slice(first, first + BATCH)
            _, slopes = at(low + (high - low) * (nodes[chosen] + 1) / 2)
            for share, slope, change in zip((words, segments), slopes, changes, strict=True):
                moved = np.sum(slope.astype(np.float64) * change, axis=-1)
                share += np.tensordot(weights[chosen] / 2 * (high - low), moved, 1)
        if words.ndim == 1:
            return words + segments
        words[:, 0] += segments
        return words

    places, margins = [0.0, 1.0], at(np.array([0.0, 1.0]))[0].astype(float).tolist()
    shares, points = [shares_between(0.0, 1.0)], POINTS
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
        margins.insert(worst + 1, float(at(np.array([middle]))[0][0]))
        shares[worst : worst + 1] = [shares_between(low, middle), shares_between(middle, high)]
        points += 2 * POINTS


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


def _margins(
    classifier: TokenClassifier,
    points: list[np.ndarray],
    padding_mask: np.ndarray,
    target: int,
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Margins, float32 [batch], and their gradients, of embeddings of words and of segments."""
    mask = tf.tile(padding_mask, [len(points[0]), 1])
    words, segments = (tf.constant(point, tf.float32) for point in points)
    margins, _, *slopes = margin_gradients(classifier, words, segments, mask, target)
    return margins.numpy(), [slope.numpy() for slope in slopes]
