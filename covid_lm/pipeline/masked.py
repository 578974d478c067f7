"""Masked sequences for pre-training, with new masks in every epoch."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from covid_lm.layers.patch_masking import PatchMasking
from covid_lm.layers.token_masking import UNUSED, TokenMasking
from covid_lm.pipeline.augmented import AugmentedRecords
from covid_lm.pipeline.tokenized import Batches, mapped_batches


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

    def epoch(self, batch_size: int, seed: int, epoch: int, first_step: int = 0) -> tf.data.Dataset:
        """Batches of an epoch, each sequence once, shuffled, from step `first_step` to the end.

        Order and masks follow from the seed, the epoch and the step alone, so that an interrupted
        epoch can be resumed at any step.

        Returns:
            (inputs, targets, weights) of each batch: what `TokenMasking` returns, and float32
            [batch, num_masked], under which the mean over all slots is the mean over the batch's
            masked tokens, however they are divided among devices: 0 for an unused slot, with a
            mean of 1.
        """
        order = np.random.default_rng([seed, epoch]).permutation(len(self.sequences.labels))
        return self._batches(order, batch_size, [seed, epoch, 1], first_step)

    def once(self, batch_size: int, seed: int) -> tf.data.Dataset:
        """Such batches in the sequences' order, with the same masks in every call, to evaluate."""
        order = np.arange(len(self.sequences.labels))
        return self._batches(order, batch_size, [seed, 0, 2])

    def _batches(
        self, order: np.ndarray, batch_size: int, entropy: list[int], first_step: int = 0
    ) -> tf.data.Dataset:
        steps = self.steps(batch_size)
        filling = np.full(steps * batch_size - len(order), -1)
        rows = np.concatenate([order, filling]).reshape(steps, batch_size)
        seeds = np.random.default_rng(entropy).integers(2**31, size=(steps, 2), dtype=np.int32)
        return mapped_batches((rows[first_step:], seeds[first_step:]), self._mask)

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

    def epoch(self, batch_size: int, seed: int, epoch: int, first_step: int = 0) -> tf.data.Dataset:
        """Batches of what `PatchMasking` returns; the masks follow from seed, epoch and step."""
        generator = np.random.default_rng([seed, epoch, 2])
        seeds = generator.integers(2**31, size=(self.steps(batch_size), 2), dtype=np.int32)
        batches = tf.data.Dataset.zip(
            self.images.epoch(batch_size, seed, epoch, first_step),
            tf.data.Dataset.from_tensor_slices(seeds[first_step:]),
        )
        return batches.map(
            lambda batch, mask_seed: self.masking(batch[0], mask_seed), tf.data.AUTOTUNE
        ).prefetch(tf.data.AUTOTUNE)
