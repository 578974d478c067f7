"""Sequences masked anew in every epoch, in an order and with masks that a seed and the epoch's
number decide alone: a run that was interrupted goes on as if it had not been."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from covid_lm.layers.token_masking import GENERATOR, TokenMasking


@dataclasses.dataclass(frozen=True)
class MaskedTokens:
    """A split's sequences, in memory, for the masked-token objective.

    Attributes:
        tokens: `token_ids`, `segment_ids` and `padding_mask`, int32 [sequences, length].
        masking: hides words.
        seed: of the order and the masks, 0 or more.
    """

    tokens: dict[str, np.ndarray]
    masking: TokenMasking
    seed: int

    def epochs(self, batch_size: int, first: int, end: int) -> tf.data.Dataset:
        """Batches of (inputs, targets) of the epochs `first` to `end` - 1, one after another.

        An epoch holds every sequence once, shuffled; its last batch may be smaller.
        """
        batches = self._batches(batch_size, shuffle=True)
        return tf.data.Dataset.range(first, end).flat_map(batches).prefetch(tf.data.AUTOTUNE)

    def batches(self, batch_size: int) -> tf.data.Dataset:
        """Batches in the sequences' order and with the same masks each time, to measure with."""
        return self._batches(batch_size, shuffle=False)(0).prefetch(tf.data.AUTOTUNE)

    def steps(self, batch_size: int) -> int:
        """Batches an epoch."""
        return -(-len(self.tokens["token_ids"]) // batch_size)

    def _batches(self, batch_size: int, shuffle: bool) -> Callable[[tf.Tensor], tf.data.Dataset]:
        """A function from an epoch's number to its batches."""
        tokens = {name: tf.constant(array) for name, array in self.tokens.items()}
        count = len(self.tokens["token_ids"])

        def mask(epoch_seed, number, rows):
            seed = tf.random.fold_in(epoch_seed, number, GENERATOR)
            return self.masking({name: tf.gather(x, rows) for name, x in tokens.items()}, seed)

        def of_epoch(epoch):
            epoch_seed = tf.random.fold_in([self.seed, 0], epoch, GENERATOR)
            order_seed, mask_seed = tf.unstack(tf.random.split(epoch_seed, 2, GENERATOR), num=2)
            order = tf.range(count)
            if shuffle:
                order = tf.random.experimental.stateless_shuffle(order, order_seed, GENERATOR)
            batches = tf.data.Dataset.from_tensor_slices(order).batch(batch_size).enumerate()
            return batches.map(
                lambda number, rows: mask(mask_seed, number, rows),
                num_parallel_calls=tf.data.AUTOTUNE,
            )

        return of_epoch
