"""Batches for training and evaluation, and those of token ids in memory."""

import dataclasses
import functools
import math
import os
from collections.abc import Callable, Iterator
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
    return mapped_in_advance(tf.data.Dataset.from_tensor_slices(arrays), function)


def mapped_in_advance(elements: tf.data.Dataset, function: Callable) -> tf.data.Dataset:
    """Results of `function` for each element, in order, computed by a thread for each core."""
    options = tf.data.Options()
    # With autotuning, 3 of 17 runs of --recipe=pixels were idle for 16 s when their iterator ended,
    # waiting, as far as a stack dump shows, for the thread that tunes it.
    options.autotune.enabled = False
    return elements.map(function, os.cpu_count()).prefetch(2).with_options(options)


def joined_epochs(
    arrays: Callable[[int], tuple[np.ndarray, ...]], epochs: range, first_step: int
) -> tuple[np.ndarray, ...]:
    """The arrays [steps, ...] of several epochs in a row, from step `first_step` of the first on.

    Args:
        arrays: function from an epoch to its arrays.
    """
    columns = zip(*(arrays(epoch) for epoch in epochs), strict=True)
    return tuple(np.concatenate(parts)[first_step:] for parts in columns)


class Batches:
    """Base of the splits that give batches of (inputs, labels), each a `BatchSource`.

    Of several processes, each gets its share of every batch; the concatenated shares are the batch
    that a single process would get. A batch size is that of all processes together, a multiple of
    `num_processes`.

    Attributes:
        labels: int32 [images].
        gather: function from rows, int [batch], to inputs and labels, with TensorFlow ops.
        process_id, num_processes: of this process.
    """

    labels: np.ndarray
    gather: Callable[[tf.Tensor], tuple[dict[str, tf.Tensor], tf.Tensor]]
    process_id: int
    num_processes: int

    def parts(self) -> "Iterator[TokenizedRecords]":
        """The inputs of all images in order, in parts of which each is in memory."""
        raise NotImplementedError

    def steps(self, batch_size: int) -> int:
        """Number of batches in an epoch."""
        return steps_per_epoch(len(self.labels), batch_size)

    def epochs(
        self, batch_size: int, seed: int, epochs: range, first_step: int = 0
    ) -> tf.data.Dataset:
        """See `BatchSource`; batches of (inputs, labels) in the order of `epoch_order`."""

        def rows(epoch: int) -> tuple[np.ndarray, ...]:
            return self.shares(epoch_order(len(self.labels), batch_size, seed, epoch))

        return mapped_batches(joined_epochs(rows, epochs, first_step), self.gather)

    def once(self, batch_size: int) -> tf.data.Dataset:
        """Batches of (inputs, labels, weights) with every image once, in order, all of one size.

        The weights, float32 [batch], are 1, and 0 for the images that fill up the last batch.
        """
        count = len(self.labels)
        rows = np.resize(np.arange(count), (self.steps(batch_size), batch_size))
        weights = (np.arange(rows.size) < count).astype(np.float32).reshape(rows.shape)
        shares = self.shares(rows, weights)
        gather = self.gather  # made outside the mapped function's graph, which ends
        return mapped_batches(shares, lambda rows, weights: (*gather(rows), weights))

    def shares(self, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
        """This process's columns of arrays [steps, batch, ...]."""
        parts = (np.split(array, self.num_processes, axis=1) for array in arrays)
        return tuple(part[self.process_id] for part in parts)


@dataclasses.dataclass(frozen=True)
class TokenizedRecords(Batches):
    """Token ids of a split, in memory.

    Attributes:
        tokens: `token_ids`, `segment_ids` and `padding_mask`, int32 [images, length].
        labels, process_id, num_processes: see `Batches`.
    """

    tokens: dict[str, np.ndarray]
    labels: np.ndarray
    process_id: int = 0
    num_processes: int = 1

    def parts(self) -> "Iterator[TokenizedRecords]":
        """See `Batches`; these records themselves."""
        yield self

    @functools.cached_property
    def gather(self) -> Callable:  # type: ignore[override]
        """See `Batches`."""
        with tf.device("CPU"):
            tokens = {key: tf.constant(value) for key, value in self.tokens.items()}
            labels = tf.constant(self.labels)

        def gather(rows: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            batch = {key: tf.gather(value, rows) for key, value in tokens.items()}
            return batch, tf.gather(labels, rows)

        return gather
