"""Sequences masked anew in every epoch, in an order and with masks that a seed and the epoch's
number decide alone: a run that was interrupted goes on as if it had not been."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from covid_lm.layers.token_masking import GENERATOR, UNUSED, TokenMasking


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
        """Batches of (inputs, targets, weights) of the epochs `first` to `end` - 1, in turn.

        An epoch holds every sequence once, shuffled. All batches are of one size, which is one
        compilation and equal shares on every device: the last one is filled up with sequences
        without a masked token, which count nothing.

        The weights, float32 [batch, num_masked], are those under which the mean over all slots is
        the mean over the batch's masked tokens, however many of them each device has: 0 for a slot
        without one, and of a mean of 1.
        """
        batches = self._batches(batch_size, shuffle=True)
        return tf.data.Dataset.range(first, end).flat_map(batches).prefetch(tf.data.AUTOTUNE)

    def batches(self, batch_size: int) -> tf.data.Dataset:
        """Such batches in the sequences' order, with the same masks each time, to measure with."""
        return self._batches(batch_size, shuffle=False)(0).prefetch(tf.data.AUTOTUNE)

    def steps(self, batch_size: int) -> int:
        """Batches an epoch."""
        return -(-len(self.tokens["token_ids"]) // batch_size)

    def _batches(self, batch_size: int, shuffle: bool) -> Callable[[tf.Tensor], tf.data.Dataset]:
        """A function from an epoch's number to its batches."""
        with tf.device("CPU"):
            tokens = {name: tf.constant(array) for name, array in self.tokens.items()}
        count = len(self.tokens["token_ids"])
        missing = -count % batch_size

        def mask(epoch_seed, number, rows):
            seed = tf.random.fold_in(epoch_seed, number, GENERATOR)
            filling = (rows < 0)[:, tf.newaxis, tf.newaxis]
            rows = tf.maximum(rows, 0)
            gathered = {name: tf.gather(x, rows) for name, x in tokens.items()}
            inputs, targets = self.masking(gathered, seed)
            targets = tf.where(filling, [0, UNUSED], targets)
            used = tf.cast(targets[..., 1] != UNUSED, tf.float32)
            share = tf.reduce_mean(used)
            return inputs, targets, tf.math.divide_no_nan(used, share)

        def of_epoch(epoch):
            epoch_seed = tf.random.fold_in([self.seed, 0], epoch, GENERATOR)
            order_seed, mask_seed = tf.unstack(tf.random.split(epoch_seed, 2, GENERATOR), num=2)
            order = tf.range(count)
            if shuffle:
                order = tf.random.experimental.stateless_shuffle(order, order_seed, GENERATOR)
            order = tf.concat([order, tf.fill([missing], -1)], axis=0)
            order = tf.reshape(order, [-1, batch_size])
            return (
                tf.data.Dataset.from_tensor_slices(order)
                .enumerate()
                .map(
                    lambda number, rows: mask(mask_seed, number, rows),
                    num_parallel_calls=tf.data.AUTOTUNE,
                )
            )

        return of_epoch
