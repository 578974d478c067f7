"""Gradients of a token classifier's answer with respect to its words, and the origin of words.

A word is a token or, with patches, one byte of it.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from covid_lm.layers.symbols import NUM_SYMBOLS
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.models.token_classifier import TokenClassifier


def margin_gradients(
    classifier: TokenClassifier,
    words: tf.Tensor,
    segments: tf.Tensor,
    padding_mask: tf.Tensor,
    target: tf.Tensor | int | None = None,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Margins of a class and their gradients, in float32 under any dtype policy.

    The margin is the class's logit minus the mean of the other classes' logits.

    Args:
        words, segments, padding_mask: as `PooledEncoder.from_vectors`.
        target: index of the class, int32 [batch] or one for all; by default the most probable.

    Returns:
        Margins, float32 [batch], the indices of their classes, int32 [batch], and the gradients
        with respect to `words` and `segments`.
    """
    head = classifier.logits.get_layer("feature_extraction").dense
    count = len(classifier.config.classes)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch((words, segments))
        embedding = classifier.encoder.from_vectors(words, segments, padding_mask)
        # Not through the head's call, which under a mixed policy rounds to bfloat16.
        logits = keras.ops.matmul(embedding, head.kernel) + head.bias
        best = tf.argmax(logits, axis=1, output_type=tf.int32)
        chosen = best if target is None else tf.zeros_like(best) + target
        direction = (tf.one_hot(chosen, count) * count - 1) / (count - 1)
        margins = tf.reduce_sum(logits * direction, axis=1)
    of_words, of_segments = tape.gradient(margins, (words, segments))
    return margins, chosen, of_words, of_segments


def word_sources(preprocessor: Preprocessor, name_lengths: tf.Tensor) -> tf.Tensor:
    """The origin of each word, found by sending indices through concatenation and trim.

    The indices replace channel values and characters. They begin above all symbols, so every
    smaller number in the sequence is a special token.

    Args:
        name_lengths: int32 [batch], number of tokens for the name.

    Returns:
        int32 [batch, length] or [batch, length, bytes]: below 0 a special token, then the channel
        values by plane, row and column, then the tokens of the name.
    """
    planes = picture_planes(preprocessor)
    size = math.prod(planes)
    indices = NUM_SYMBOLS + np.arange(size, dtype=np.int32).reshape(planes).transpose(1, 2, 0)
    batch, longest = tf.size(name_lengths), tf.reduce_max(tf.concat([name_lengths, [0]], axis=0))
    pixels = tf.tile(indices[np.newaxis], [batch, 1, 1, 1])  # [batch, height, width, channels]
    characters = tf.tile(tf.range(longest)[tf.newaxis], [batch, 1]) + NUM_SYMBOLS + size
    name = {"symbols": characters, "lengths": name_lengths}
    return preprocessor.trim(preprocessor.concatenation(pixels, name))["symbols"] - NUM_SYMBOLS


def picture_planes(preprocessor: Preprocessor) -> tuple[int, int, int]:
    """Planes, height and width of the picture that the words come from."""
    channels = 3 if preprocessor.image_input.color == "rgb" else 1
    return (channels, *preprocessor.image_input.image_size)
