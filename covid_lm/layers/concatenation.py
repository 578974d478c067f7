"""Functional layer 2, Concatenation (paper, section 3.1): one sequence from image and name."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from covid_lm.layers import symbols
from covid_lm.layers.hilbert_curve import hilbert_order
from covid_lm.layers.image_sheet import sheet_blocks

ORDERS = ("rows", "hilbert")


@keras.saving.register_keras_serializable("covid_lm")
class Concatenation(keras.layers.Layer):
    """Joins channel planes and file name into one sentence pair.

    ```
    symbol      [CLS]  R(h*w)  G(h*w)  B(h*w)  [SEP]  name(n)  [SEP]  [PAD] ...
    segment id    0      0       0       0       0       1       1      0
    ```
    A one-channel image has one plane. Pictures on a sheet (`image_sheet`) follow one another, all
    planes of the first one first. Segment ids follow BERT's convention for pairs.

    Args:
        order: of a plane's values: `rows`, row by row, or `hilbert`, along Hilbert's curve, for
            squares whose side is a power of two.
        sizes: heights and widths of the pictures on a sheet; one picture unless given.
    """

    def __init__(
        self, order: str = "rows", sizes: Sequence[tuple[int, int]] | None = None, **kwargs: Any
    ):
        super().__init__(**kwargs)
        if order not in ORDERS:
            raise ValueError(f"order {order!r}: choose one of {', '.join(ORDERS)}")
        self.order = order
        self.sizes = None if sizes is None else tuple((height, width) for height, width in sizes)

    def call(self, pixels: tf.Tensor, name: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Concatenates.

        Args:
            pixels: uint8 [batch, height, width, channels], static but for the batch.
            name: `symbols` int32 [batch, longest] and `lengths` int32 [batch] of `FileNameInput`.

        Returns:
            `symbols` and `segment_ids`, int32 [batch, values + longest + 3], padded at the end,
            with height * width * channels values of a picture; `lengths`, int32 [batch]:
            positions in use.
        """
        sizes = self.sizes or ((pixels.shape[1], pixels.shape[2]),)
        parts = [self._values(block) for block in sheet_blocks(pixels, sizes)]
        values = tf.concat(parts, axis=1)
        image_length = values.shape[1]
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

    def _values(self, pixels: tf.Tensor) -> tf.Tensor:
        height, width, channels = pixels.shape[1:]
        planes = tf.transpose(tf.cast(pixels, tf.int32), [0, 3, 1, 2])  # [batch, c, h, w]
        if self.order == "hilbert":
            if height != width:
                raise ValueError(f"order 'hilbert': {height} x {width} is no square")
            planes = tf.reshape(planes, [-1, channels, height * width])
            planes = tf.gather(planes, hilbert_order(height), axis=2)
        return tf.reshape(planes, [-1, channels * height * width])

    def get_config(self) -> dict:
        return {**super().get_config(), "order": self.order, "sizes": self.sizes}
