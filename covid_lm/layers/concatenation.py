"""Functional layer 2, Concatenation (paper, section 3.1): image and name as one sequence."""

import math

import keras
import tensorflow as tf

from covid_lm.layers import symbols


@keras.saving.register_keras_serializable("covid_lm")
class Concatenation(keras.layers.Layer):
    """Concatenates the channel planes and the file name to a pair of sentences.

    ```
    symbol      [CLS]  R(h*w)  G(h*w)  B(h*w)  [SEP]  name(n)  [SEP]  [PAD] ...
    segment id    0      0       0       0       0       1       1      0
    ```
    Each plane is read row by row; a one-channel image has one plane. Segment ids follow BERT's
    convention for pairs.
    """

    def call(self, pixels: tf.Tensor, name: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Concatenates a batch.

        Args:
            pixels: uint8 [batch, height, width, channels], static except for the batch.
            name: `symbols` int32 [batch, longest] and `lengths` int32 [batch] of `FileNameInput`.

        Returns:
            `symbols` and `segment_ids`, int32 [batch, height * width * channels + longest + 3],
            padded at the end; `lengths`, int32 [batch]: the number of positions in use.
        """
        image_length = math.prod(pixels.shape[1:])
        planes = tf.transpose(tf.cast(pixels, tf.int32), [0, 3, 1, 2])  # [batch, c, h, w]
        values = tf.reshape(planes, [-1, image_length])
        column = tf.zeros_like(name["lengths"])[:, tf.newaxis]  # [batch, 1]

        name_symbols = tf.concat([name["symbols"], column + symbols.PAD], axis=1)
        places = tf.range(tf.shape(name_symbols)[1])
        ends = name["lengths"][:, tf.newaxis]  # [batch, 1]
        name_symbols = tf.where(places == ends, symbols.SEP, name_symbols)
        name_segments = tf.cast(places <= ends, tf.int32)

        image_symbols = [column + symbols.CLS, values, column + symbols.SEP]
        image_segments = [column, tf.zeros_like(values), column]
        return {
            "symbols": tf.concat([*image_symbols, name_symbols], axis=1),
            "segment_ids": tf.concat([*image_segments, name_segments], axis=1),
            "lengths": name["lengths"] + image_length + 3,
        }
