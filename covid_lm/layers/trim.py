"""Functional layer 3, Trim (paper, section 3.1): a sequence of fixed length."""

from typing import Any

import keras
import tensorflow as tf

from covid_lm.layers import symbols
from covid_lm.layers.tensorflow_layer import TensorFlowLayer


@keras.saving.register_keras_serializable("covid_lm")
class Trim(TensorFlowLayer):
    """Keeps the first `head` and the last `tail` positions; pads shorter sequences.

    With the paper's 32x32 RGB image, 256 + 256 positions and a name of n <= 254 bytes:
    ```
    position    0   1 ........ 255  256 ..................... 510-n   511-n .. 510   511
    symbol    [CLS] R[0 .. 254]     B[1024-(254-n) .. 1023]   [SEP]   name[0..n-1]  [SEP]
    segment     0   0               0                         0       1              1
    ```
    No green value is kept. A longer name displaces blue values, then the middle [SEP].
    """

    def __init__(self, head: int = 256, tail: int = 256, **kwargs: Any):
        super().__init__(**kwargs)
        if head < 1 or tail < 0:
            raise ValueError(f"head={head}, tail={tail}: head must be >= 1 and tail >= 0")
        self.head = head
        self.tail = tail

    def call(self, sequence: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Trims or pads a batch.

        Args:
            sequence: `symbols` and `segment_ids`, int32 [batch, any], `lengths`, int32 [batch];
                `symbols` may have a third dimension, the bytes per token.

        Returns:
            `symbols` and `segment_ids`, int32 [batch, head + tail] or [batch, head + tail, bytes].
        """
        length = self.head + self.tail
        places = tf.range(length)[tf.newaxis]  # [1, head + tail]
        lengths = sequence["lengths"][:, tf.newaxis]  # [batch, 1]
        dropped = tf.where(places < self.head, 0, tf.maximum(lengths - length, 0))
        source = tf.minimum(places + dropped, tf.shape(sequence["symbols"])[1] - 1)
        inside = places < lengths

        def pick(values: tf.Tensor, padding: int) -> tf.Tensor:
            picked = tf.gather(values, source, batch_dims=1)
            kept = tf.reshape(inside, [-1, length] + [1] * (values.shape.rank - 2))
            picked = tf.where(kept, picked, padding)
            return tf.ensure_shape(picked, [None, length, *values.shape[2:]])

        return {
            "symbols": pick(sequence["symbols"], symbols.PAD),
            "segment_ids": pick(sequence["segment_ids"], 0),
        }
