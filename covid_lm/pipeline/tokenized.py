"""Token ids in memory, and their batches for training and evaluation."""

import dataclasses
import math

import numpy as np
import tensorflow as tf


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Batches in an epoch of `count` images."""
    return math.ceil(count / batch_size)


def epoch_order(count: int, batch_size: int, seed: int, epoch: int) -> np.ndarray:
    """The images of each batch of an epoch, int [steps, batch_size], drawn from seed and epoch.

    The last batch is filled up with the first images of the epoch: each image comes once, and
    fewer than `batch_size` come twice. One batch size means one compilation, and equal shares on
    every device.
    """
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return np.resize(order, (steps_per_epoch(count, batch_size), batch_size))


@dataclasses.dataclass(frozen=True)
class TokenizedRecords:
    """Token ids of a split, in memory.

    Attributes:
        tokens: `token_ids`, `segment_ids` and `padding_mask`, int32 [images, length].
        labels: int32 [images].
    """

    tokens: dict[str, np.ndarray]
    labels: np.ndarray

    def steps(self, batch_size: int) -> int:
        """Number of batches in an epoch."""
        return steps_per_epoch(len(self.labels), batch_size)

    def epoch(
        self,
        batch_size: int,
        seed: int,
        epoch: int,
        first_step: int = 0,
        process_id: int = 0,
        num_processes: int = 1,
    ) -> tf.data.Dataset:
        """Batches of (tokens, labels) in the order of `epoch_order`, from step `first_step` on.

        Args:
            batch_size: of all processes together, a multiple of `num_processes`.
            process_id, num_processes: of several processes, each gets its share of every batch;
                the concatenated shares are the batch that a single process would get.
        """
        order = epoch_order(len(self.labels), batch_size, seed, epoch)[first_step:]
        order = np.split(order, num_processes, axis=1)[process_id]
        return self._gathered(order).prefetch(tf.data.AUTOTUNE)

    def once(self, batch_size: int, process_id: int = 0, num_processes: int = 1) -> tf.data.Dataset:
        """Batches of (tokens, labels, weights) with every image once, in order, all of one size.

        The weights, float32 [batch], are 1, and 0 for the images that fill up the last batch.
        Arguments as for `epoch`.
        """
        count = len(self.labels)
        shape = (self.steps(batch_size), batch_size)
        all_rows = np.resize(np.arange(count), shape)
        counted = (np.arange(all_rows.size) < count).astype(np.float32).reshape(shape)
        rows, weights = (
            np.split(array, num_processes, axis=1)[process_id] for array in (all_rows, counted)
        )
        batches = tf.data.Dataset.zip(
            self._gathered(rows), tf.data.Dataset.from_tensor_slices(weights)
        )
        return batches.map(lambda batch, weight: (*batch, weight)).prefetch(tf.data.AUTOTUNE)

    def _gathered(self, order: np.ndarray) -> tf.data.Dataset:
        """Batches of (tokens, labels) with the images of each row of `order` [steps, batch]."""
        with tf.device("CPU"):
            tokens = {key: tf.constant(value) for key, value in self.tokens.items()}
            labels = tf.constant(self.labels)
        return tf.data.Dataset.from_tensor_slices(order).map(
            lambda rows: (
                {key: tf.gather(value, rows) for key, value in tokens.items()},
                tf.gather(labels, rows),
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
