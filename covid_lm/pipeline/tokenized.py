"""Token ids in memory, and their batches for training and evaluation."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

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


def mapped_batches(arrays: Any, function: Callable) -> tf.data.Dataset:
    """Results of `function` for each row of the arrays, computed in parallel and in advance."""
    batches = tf.data.Dataset.from_tensor_slices(arrays)
    return batches.map(function, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


@dataclasses.dataclass(frozen=True)
class TokenizedRecords:
    """Token ids of a split, in memory, as a `BatchSource`.

    Attributes:
        tokens: `token_ids`, `segment_ids` and `padding_mask`, int32 [images, length].
        labels: int32 [images].
        process_id, num_processes: of several processes, each gets its share of every batch; the
            concatenated shares are the batch that a single process would get. A batch size is that
            of all processes together, a multiple of `num_processes`.
    """

    tokens: dict[str, np.ndarray]
    labels: np.ndarray
    process_id: int = 0
    num_processes: int = 1

    def steps(self, batch_size: int) -> int:
        """Number of batches in an epoch."""
        return steps_per_epoch(len(self.labels), batch_size)

    def epoch(self, batch_size: int, seed: int, epoch: int, first_step: int = 0) -> tf.data.Dataset:
        """Batches of (tokens, labels) in the order of `epoch_order`, from step `first_step` on."""
        return self._batches(epoch_order(len(self.labels), batch_size, seed, epoch)[first_step:])

    def once(self, batch_size: int) -> tf.data.Dataset:
        """Batches of (tokens, labels, weights) with every image once, in order, all of one size.

        The weights, float32 [batch], are 1, and 0 for the images that fill up the last batch.
        """
        count = len(self.labels)
        rows = np.resize(np.arange(count), (self.steps(batch_size), batch_size))
        weights = (np.arange(rows.size) < count).astype(np.float32).reshape(rows.shape)
        return self._batches(rows, weights)

    def _batches(self, *arrays: np.ndarray) -> tf.data.Dataset:
        """This process's share of the batches of rows [steps, batch], with weights if given."""
        with tf.device("CPU"):
            tokens = {key: tf.constant(value) for key, value in self.tokens.items()}
            labels = tf.constant(self.labels)

        def gather(rows: tf.Tensor, *weights: tf.Tensor) -> tuple:
            batch = {key: tf.gather(value, rows) for key, value in tokens.items()}
            return batch, tf.gather(labels, rows), *weights

        shares = (np.split(array, self.num_processes, axis=1) for array in arrays)
        return mapped_batches(tuple(share[self.process_id] for share in shares), gather)
