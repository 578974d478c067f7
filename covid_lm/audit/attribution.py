"""How much of a prediction rests on tokens that aren't the image's."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from covid_lm.models.token_classifier import TokenClassifier

KINDS = ("image", "name", "special")


def token_kinds(tokens: dict, separator_id: int) -> np.ndarray:
    """Which kind of token stands where: int [batch, length], an index into `KINDS`, -1 for padding.

    Special tokens are [CLS] and the two [SEP]; between those is the name.
    """
    segments = np.asarray(tokens["segment_ids"])
    kinds = np.where(segments == 1, KINDS.index("name"), KINDS.index("image"))
    kinds[:, 0] = KINDS.index("special")
    kinds[np.asarray(tokens["token_ids"]) == separator_id] = KINDS.index("special")
    kinds[np.asarray(tokens["padding_mask"]) == 0] = -1
    return kinds


def attribution_shares(classifier: TokenClassifier, tokens: dict) -> np.ndarray:
    """Shares of the absolute gradient x input over the kinds of tokens.

    The input is a token's embedding, the gradient that of the predicted class's logit less the
    mean logit. Token and position embeddings are summed, so the gradient by the token's is the
    gradient by the position's, which needs one image at a time and no look inside the encoder.

    Args:
        tokens: `token_ids`, `segment_ids`, `padding_mask`, int32 [batch, length].

    Returns:
        float [batch, 3], in the order of `KINDS`; rows add up to 1, or to 0 without any gradient.
    """
    kinds = token_kinds(tokens, classifier.vocabulary.index("[SEP]"))
    table = classifier.backbone.token_embedding.embeddings
    embeddings = keras.ops.convert_to_numpy(table).astype(np.float32)
    ids = np.asarray(tokens["token_ids"])
    shares = np.zeros((len(ids), len(KINDS)))
    for index in range(len(ids)):
        one = {
            key: tf.convert_to_tensor(tokens[key])[index : index + 1]
            for key in classifier.input_keys
        }
        gradient = _position_gradient(classifier, one)[: ids.shape[1]]
        weight = np.abs(np.sum(gradient * embeddings[ids[index]], axis=1))
        for kind in range(len(KINDS)):
            shares[index, kind] = weight[kinds[index] == kind].sum()
    return shares / np.maximum(shares.sum(axis=1, keepdims=True), 1e-30)


def _position_gradient(classifier: TokenClassifier, tokens: dict) -> np.ndarray:
    """Of one image's logit margin, by the position embeddings: float32 [positions, hidden]."""
    positions = classifier.backbone.position_embedding.position_embeddings.value
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(positions)
        logits = classifier.logits(tokens, training=False)
        margin = tf.reduce_max(logits) - tf.reduce_mean(logits)
    return np.asarray(tf.convert_to_tensor(tape.gradient(margin, positions)), np.float32)


def mean_shares(parts: Sequence[np.ndarray]) -> dict[str, float]:
    """The mean share of each kind over all images."""
    means = np.concatenate(parts).mean(axis=0)
    return dict(zip(KINDS, map(float, means), strict=True))
