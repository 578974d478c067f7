"""Functional layer 7, Output (paper, section 3.1): the class label."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("covid_lm")
class ClassOutput(keras.layers.Layer):
    """Returns the label of the most probable class for each image that could be decoded.

    Args:
        classes: labels, in the order of the probabilities.
    """

    def __init__(self, classes: Sequence[str], **kwargs: Any):
        super().__init__(**kwargs)
        self.classes = tuple(classes)

    def call(
        self, probabilities: tf.Tensor, valid: tf.Tensor, reason: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Labels a batch.

        Args:
            probabilities: float32 [batch, classes].
            valid: bool [batch].
            reason: string [batch], why an image is not valid, else "".

        Returns:
            `probabilities`, zeros where not valid: NaN would not be JSON; `label`, string [batch],
            empty where not valid; `valid` and `reason`.
        """
        labels = tf.gather(tf.constant(self.classes), tf.argmax(probabilities, axis=-1))
        return {
            "probabilities": tf.where(valid[:, tf.newaxis], probabilities, 0.0),
            "label": tf.where(valid, labels, ""),
            "valid": valid,
            "reason": reason,
        }
