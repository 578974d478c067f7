"""Masked sequences for pre-training, with new masks in every epoch."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from covid_lm.layers.patch_masking import PatchMasking
from covid_lm.layers.token_masking import UNUSED, TokenMasking
from covid_lm.pipeline.augmented import AugmentedRecords
from covid_lm.pipeline.tokenized import (
    Batches,
    joined_epochs,
    mapped_batches,
    mapped_in_advance,
)


@dataclasses.dataclass(frozen=True)
class MaskedTokens:
    """A split's sequences for the masked-token objective.

    All batches have one size, for a single compilation and equal shares on every device: the last
    one is filled up with sequences without a masked token, which do not count.

    Attributes:
        sequences: `token_ids`, `segment_ids` and `padding_mask`, int32 [batch, length].
        masking: hides words.
    """

    sequences: Batches
    masking: TokenMasking

    def steps(self, batch_size: int) -> int:
        """Number of batches in an epoch."""
        return self.sequences.steps(batch_size)

    def epochs(
        self, batch_size: int, seed: int, epochs: range, first_step: int = 0
    ) -> tf.data.Dataset:
        """See `BatchSource`; each sequence once in an epoch, shuffled.

        Order and masks follow from the seed, the epoch and the step alone, so that an interrupted
        epoch can be resumed at any step.

        Returns:
            (inputs, targets, weights) of each batch: what `TokenMasking` returns, and float32
            [batch, num_masked], under which the mean over all slots is the mean over the batch's
            masked tokens, however they are divided among devices: 0 for an unused slot, with a
            mean of 1.
        """
        count = len(self.sequences.labels)

        def rows_and_seeds(epoch: int) -> tuple[np.ndarray, ...]:
            order = np.random.default_rng([seed, epoch]).permutation(count)
            return self._rows_and_seeds(order, batch_size, [seed, epoch, 1])

        return mapped_batches(joined_epochs(rows_and_seeds, epochs, first_step), self._mask)

    def once(self, batch_size: int, seed: int) -> tf.data.Dataset:
        """Such batches in the sequences' order, with the same masks in every call, to evaluate."""
        order = np.arange(len(self.sequences.labels))
        return mapped_batches(self._rows_and_seeds(order, batch_size, [seed, 0, 2]), self._mask)

    def _rows_and_seeds(
        self, order: np.ndarray, batch_size: int, entropy: list[int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The rows of each batch, [steps, batch], -1 for none, and its seed, [steps, 2]."""
        steps = self.steps(batch_size)
        filling = np.full(steps * batch_size - len(order), -1)
        rows = np.concatenate([order, filling]).reshape(steps, batch_size)
        seeds = np.random.default_rng(entropy).integers(2**31, size=(steps, 2), dtype=np.int32)
        return rows, seeds

    @functools.cached_property
    def _mask(self) -> Callable:
        """A function from rows [batch], -1 for none, and a seed [2] to a batch; traced once."""
        gather = self.sequences.gather

        def mask(rows: tf.Tensor, seed: tf.Tensor) -> tuple:
            tokens, _ = gather(tf.maximum(rows, 0))
            inputs, targets = self.masking(tokens, seed)
            targets = tf.where((rows < 0)[:, tf.newaxis, tf.newaxis], [0, UNUSED], targets)
            used = tf.cast(targets[..., 1] != UNUSED, tf.float32)
            return inputs, targets, tf.math.divide_no_nan(used, tf.reduce_mean(used))

        return tf.function(mask, autograph=False)


@dataclasses.dataclass(frozen=True)
class MaskedPatches:
    """A split's images, augmented, tokenized and masked in every epoch, as a `BatchSource`.

    Attributes:
        images: whose tokens are patches.
        masking: hides patches.
    """

    images: AugmentedRecords
    masking: PatchMasking

    def steps(self, batch_size: int) -> int:
        """Number of batches in an epoch."""
        return self.images.steps(batch_size)

    def epochs(
        self, batch_size: int, seed: int, epochs: range, first_step: int = 0
    ) -> tf.data.Dataset:
        """See `BatchSource`; batches of what `PatchMasking` returns.

        The masks follow from the seed, the epoch and the step.
        """

        def mask_seeds(epoch: int) -> tuple[np.ndarray, ...]:
            generator = np.random.default_rng([seed, epoch, 2])
            size = (self.steps(batch_size), 2)
            return (generator.integers(2**31, size=size, dtype=np.int32),)

        seeds = joined_epochs(mask_seeds, epochs, first_step)
        batches = tf.data.Dataset.zip(
            self.images.epochs(batch_size, seed, epochs, first_step),
            tf.data.Dataset.from_tensor_slices(seeds[0]),
        )
        return mapped_in_advance(batches, lambda batch, seed: self.masking(batch[0], seed))
