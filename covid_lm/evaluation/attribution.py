"""Integrated gradients over token embeddings (Sundararajan, Taly and Yan 2017).

What each token adds to a prediction: the way from a baseline, on which every token but [CLS] is
[PAD] and every segment the first, to the sequence is walked in the space of embeddings, and a
token is given the integral of the gradient along its own way. All of them add up to what the walk
changed (completeness), which `Attribution.error` checks. The second segment starts where the name
does and so tells its length: it is part of the walk, and counts for the tokens that lie in it.
Positions and the padding mask are part of the baseline.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from covid_lm.models.token_classifier import TokenClassifier

TOLERANCE = 0.01
SMALL_CHANGE = 0.1
POINTS, MOST_POINTS = 8, 72
BATCH = 4  # points at once: the gradient of a 24-layer model takes gigabytes for each


@dataclasses.dataclass(frozen=True)
class Attribution:
    """What the tokens of one image add to the margin of a class.

    The margin is the class's logit less the mean of the other classes' logits: for two classes
    the log odds.

    Attributes:
        tokens: float64 [length].
        target: the class, an index.
        margin: at the sequence.
        baseline_margin: where every token but [CLS] is [PAD].
        points: at how many points the gradient was taken.
    """

    tokens: np.ndarray
    target: int
    margin: float
    baseline_margin: float
    points: int

    @property
    def error(self) -> float:
        """By how much the tokens' sum misses the change of the margin; 0 for exact integrals."""
        return abs(float(self.tokens.sum()) - (self.margin - self.baseline_margin))


def integrated_gradients(
    classifier: TokenClassifier,
    tokens: dict[str, np.ndarray],
    target: int,
    tolerance: float = TOLERANCE,
) -> Attribution:
    """Attributes one image's margin to its tokens, in float32 whatever the policy.

    The way is cut where it is rough: of each part of it the change of the margin is known exactly,
    and the part whose Gauss-Legendre sum misses it most is halved, until all of them together are
    exact to `tolerance` or the gradient was taken at `MOST_POINTS` points.

    Args:
        tokens: `token_ids`, `segment_ids` and `padding_mask`, int32 [1, length].
        target: index of the class.
        tolerance: share of the margin's change (at least of a change of 0.1).
    """
    classes = len(classifier.config.classes)
    direction = np.full([classes, 1], -1 / (classes - 1), np.float32)
    direction[target] = 1
    start, end = _ends(classifier, tokens)
    mask = np.asarray(tokens["padding_mask"])
    (before, after), _ = _margins(classifier, np.concatenate([start, end]), mask, direction)

    def part(low: float, high: float, at_low: float, at_high: float) -> _Part:
        nodes, weights = np.polynomial.legendre.leggauss(POINTS)  # on [-1, 1]
        gradient = np.zeros(end.shape[1:], np.float64)
        for first in range(0, POINTS, BATCH):
            chosen = slice(first, first + BATCH)
            at = low + (high - low) * (nodes[chosen, np.newaxis, np.newaxis] + 1) / 2
            points = (start + at * (end - start)).astype(np.float32)
            _, slopes = _margins(classifier, points, mask, direction)
            gradient += np.einsum("b,blh->lh", weights[chosen] / 2 * (high - low), slopes)
        shares = np.sum(gradient * (end - start)[0], axis=1)
        return _Part(low, high, at_low, at_high, shares)

    parts, points = [part(0.0, 1.0, float(before), float(after))], POINTS
    allowed = tolerance * max(abs(float(after - before)), SMALL_CHANGE)
    while sum(p.error for p in parts) > allowed and points + 2 * POINTS <= MOST_POINTS:
        worst = parts.pop(int(np.argmax([p.error for p in parts])))
        middle = (worst.low + worst.high) / 2
        vectors = (start + middle * (end - start)).astype(np.float32)
        at_middle = float(_margins(classifier, vectors, mask, direction)[0][0])
        parts.append(part(worst.low, middle, worst.at_low, at_middle))
        parts.append(part(middle, worst.high, at_middle, worst.at_high))
        points += 2 * POINTS
    shares = np.sum([p.shares for p in parts], axis=0)
    return Attribution(shares, target, float(after), float(before), points)


@dataclasses.dataclass(frozen=True)
class _Part:
    """A part of the way, the margins at its ends, and what it gives to each token."""

    low: float
    high: float
    at_low: float
    at_high: float
    shares: np.ndarray

    @property
    def error(self) -> float:
        return abs(float(self.shares.sum()) - (self.at_high - self.at_low))


def _ends(classifier: TokenClassifier, tokens: dict) -> tuple[np.ndarray, np.ndarray]:
    """Sums of token and segment embeddings, of the baseline and of the sequence itself.

    Returns:
        Two of float32 [1, length, hidden].
    """
    backbone = classifier.backbone
    words, segments = (
        np.asarray(keras.ops.convert_to_tensor(layer.embeddings), np.float32)
        for layer in (backbone.token_embedding, backbone.segment_embedding)
    )
    ids = np.asarray(tokens["token_ids"])
    blank = np.full_like(ids, classifier.vocabulary.index("[PAD]"))
    blank[:, 0] = ids[:, 0]
    return words[blank] + segments[0], words[ids] + segments[np.asarray(tokens["segment_ids"])]


def _margins(
    classifier: TokenClassifier,
    vectors: np.ndarray,
    padding_mask: np.ndarray,
    direction: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Margins [batch] of vectors [batch, length, hidden], and their gradients by those."""
    encoder = classifier.logits.get_layer("cls_encoder")
    head = classifier.logits.get_layer("feature_extraction").dense
    mask = tf.tile(padding_mask, [len(vectors), 1])
    vectors = tf.constant(vectors)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(vectors)
        cls = encoder.from_vectors(vectors, mask)
        # Not through the head's call, which under a mixed policy rounds to bfloat16.
        logits = keras.ops.matmul(cls, head.kernel) + head.bias
        margins = keras.ops.matmul(logits, direction)[:, 0]
    return margins.numpy(), tape.gradient(margins, vectors).numpy()
