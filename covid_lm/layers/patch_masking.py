"""Masking of whole patches, whose bytes are then predicted (He et al. 2022; Xie et al. 2022)."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from covid_lm.layers.symbols import MASK, NAME_OFFSET
from covid_lm.layers.tensorflow_layer import TensorFlowLayer
from covid_lm.layers.token_encoder import symbol_token_ids
from covid_lm.layers.token_masking import GENERATOR, masked_count


@keras.saving.register_keras_serializable("covid_lm")
class PatchMasking(TensorFlowLayer):
    """Replaces every byte of some patches by [MASK].

    Args:
        num_patches: per image; they follow [CLS].
        vocabulary: words, index = id.
        rate: share of the patches, above 0 and below 1; rounded, at least one patch.
    """

    def __init__(self, num_patches: int, vocabulary: Sequence[str], rate: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_patches = num_patches
        self.vocabulary = tuple(vocabulary)
        self.rate = rate
        self.num_masked = masked_count(num_patches, rate)
        symbol_ids = symbol_token_ids(vocabulary)
        self.mask_id = int(symbol_ids[MASK])
        self._values = np.zeros(len(self.vocabulary), np.float32)
        self._values[symbol_ids[:NAME_OFFSET]] = np.arange(NAME_OFFSET) / 255

    def call(
        self, tokens: dict[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Masks a batch.

        Args:
            tokens: `token_ids`, int32 [batch, length, bytes], and others, which are kept.
            seed: int [2]; the same seed and tokens give the same masks.

        Returns:
            The tokens with `masked_positions`, int32 [batch, num_masked], all distinct; and the
            values that the masked bytes had, float32 [batch, num_masked, bytes] from 0 to 1.
        """
        token_ids = tokens["token_ids"]
        batch, length = tf.shape(token_ids)[0], token_ids.shape[1]
        draws = tf.random.stateless_uniform([batch, self.num_patches], seed, alg=GENERATOR)
        _, patches = tf.math.top_k(draws, self.num_masked)
        positions = patches + 1  # after [CLS]
        values = self.values(tf.gather(token_ids, positions, batch_dims=1))
        hidden = tf.reduce_any(tf.one_hot(positions, length, True, False, dtype=tf.bool), axis=1)
        masked_ids = tf.where(hidden[..., tf.newaxis], self.mask_id, token_ids)
        inputs = {**tokens, "token_ids": masked_ids, "masked_positions": positions}
        return inputs, values

    def values(self, token_ids: tf.Tensor) -> tf.Tensor:
        """The channel values of words, divided by 255, float32; 0 for any other word."""
        return tf.gather(tf.constant(self._values), token_ids)

    def get_config(self) -> dict:
        config = super().get_config()
        names = ("num_patches", "vocabulary", "rate")
        return {**config, **{name: getattr(self, name) for name in names}}
