"""Functional layer 2, Concatenation (paper, section 3.1): image and name as one sequence."""

from typing import Any

import keras
import tensorflow as tf

from covid_lm.layers import symbols
from covid_lm.layers.tensorflow_layer import TensorFlowLayer


@keras.saving.register_keras_serializable("covid_lm")
class Concatenation(TensorFlowLayer):
    """Concatenates the channel planes and the file name to a pair of sentences.

    ```
    symbol      [CLS]  R(h*w)  G(h*w)  B(h*w)  [SEP]  name(n)  [SEP]  [PAD] ...
    segment id    0      0       0       0       0       1       1      0
    ```
    Each plane is read row by row; a one-channel image has one plane. Segment ids follow BERT's
    convention for pairs.

    With patches, the sequence is [CLS] patch ... patch [SEP] name [SEP]. A patch is one token of
    `patch_size**2 * channels` bytes: the patch's own planes R, G and B, each row by row. All other
    tokens are one-byte words, with [PAD] in their other places.

    Args:
        patch_size: side of the square patches in pixels; None for one token per channel value.
    """

    def __init__(self, patch_size: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.patch_size = patch_size

    def call(self, pixels: tf.Tensor, name: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Concatenates a batch.

        Args:
            pixels: uint8 [batch, height, width, channels], static except for the batch.
            name: `symbols` int32 [batch, longest] and `lengths` int32 [batch] of `FileNameInput`.

        Returns:
            `symbols` and `segment_ids`, int32 [batch, image tokens + longest + 3], padded at the
            end; with patches, `symbols` has a third dimension, the bytes per token. `lengths`,
            int32 [batch]: the number of positions in use.
        """
        values = self._image_tokens(tf.cast(pixels, tf.int32))  # [batch, image tokens(, bytes)]
        image_length = values.shape[1]
        column = tf.zeros_like(name["lengths"])[:, tf.newaxis]  # [batch, 1]

        name_symbols = tf.concat([name["symbols"], column + symbols.PAD], axis=1)
        places = tf.range(tf.shape(name_symbols)[1])
        ends = name["lengths"][:, tf.newaxis]  # [batch, 1]
        name_symbols = tf.where(places == ends, symbols.SEP, name_symbols)
        name_segments = tf.cast(places <= ends, tf.int32)

        other_symbols = [column + symbols.CLS, column + symbols.SEP, name_symbols]
        if self.patch_size is not None:
            places = [[0, 0], [0, 0], [0, values.shape[2] - 1]]
            other_symbols = [
                tf.pad(words[..., tf.newaxis], places, constant_values=symbols.PAD)
                for words in other_symbols
            ]
        cls, sep, name_symbols = other_symbols
        image_segments = tf.zeros([tf.shape(values)[0], image_length + 2], tf.int32)
        return {
            "symbols": tf.concat([cls, values, sep, name_symbols], axis=1),
            "segment_ids": tf.concat([image_segments, name_segments], axis=1),
            "lengths": name["lengths"] + image_length + 3,
        }

    def _image_tokens(self, pixels: tf.Tensor) -> tf.Tensor:
        """Orders the values of int32 [batch, height, width, channels]."""
        height, width, channels = pixels.shape[1:]
        if self.patch_size is None:
            planes = tf.transpose(pixels, [0, 3, 1, 2])  # [batch, channels, height, width]
            return tf.reshape(planes, [-1, height * width * channels])
        side = self.patch_size
        rows, columns = height // side, width // side
        patches = tf.reshape(pixels, [-1, rows, side, columns, side, channels])
        patches = tf.transpose(patches, [0, 1, 3, 5, 2, 4])
        return tf.reshape(patches, [-1, rows * columns, channels * side**2])
