"""Masking of tokens for the masked-token objective (paper, section 3.2, equation 1)."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from covid_lm.layers.tensorflow_layer import TensorFlowLayer

MASK_SHARE, RANDOM_SHARE = 0.8, 0.1
UNUSED, IMAGE, NAME = range(3)  # the kinds of a target
GENERATOR = "philox"  # fixed, because the default depends on the device


@keras.saving.register_keras_serializable("covid_lm")
class TokenMasking(TensorFlowLayer):
    """Masks some words of each sequence for prediction (Devlin et al. 2018, section 3.1).

    Candidates are the positions with a word of `word_ids`, which excludes special tokens, such as
    a [MASK] in place of a name. A share of `rate` of them is drawn: rounded, at least one, at most
    `num_masked`. Of the drawn words, 80% become [MASK], 10% a random word of `word_ids`, and 10%
    are kept, independently of each other.

    Unlike keras_nlp's `MaskedLMMaskGenerator`, this layer has no random state, so an interrupted
    run resumes with the same masks, and its random words are words that an image can have.

    Args:
        word_ids: ids of the words that can be masked, in the order of the model's logits.
        mask_id: the id of [MASK].
        vocabulary_size: upper bound of all ids.
        num_masked: slots per sequence for drawn words.
        rate: the share, above 0 and at most 1.
    """

    def __init__(
        self,
        word_ids: Sequence[int] | np.ndarray,
        mask_id: int,
        vocabulary_size: int,
        num_masked: int,
        rate: float = 0.15,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.word_ids = np.asarray(word_ids, np.int32)
        self.mask_id = mask_id
        self.vocabulary_size = vocabulary_size
        self.num_masked = num_masked
        self.rate = rate
        self._words = np.full(vocabulary_size, -1, np.int32)
        self._words[self.word_ids] = np.arange(len(self.word_ids))

    def call(
        self, tokens: dict[str, tf.Tensor], seed: tf.Tensor
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        """Masks a batch.

        Args:
            tokens: `token_ids`, `segment_ids` and `padding_mask`, int32 [batch, length], with a
                length of at least `num_masked`.
            seed: int [2]; the same seed and tokens give the same masks.

        Returns:
            The tokens with `masked_positions`, int32 [batch, num_masked], all distinct; and
            targets, int32 [batch, num_masked, 2]: the original word's index into `word_ids`, and
            its kind: `IMAGE`, `NAME` (a token of segment 1) or `UNUSED` (a slot without a word).
        """
        token_ids = tokens["token_ids"]
        word_seed, coin_seed, position_seed = tf.unstack(tf.random.split(seed, 3, GENERATOR), num=3)
        words = tf.gather(tf.constant(self._words), token_ids)  # [batch, length], -1: none
        selectable = words >= 0
        draws = tf.random.stateless_uniform(tf.shape(words), position_seed, alg=GENERATOR)
        # Slots without a word have other positions, so that no position is written twice.
        _, positions = tf.math.top_k(tf.where(selectable, draws, -1.0), self.num_masked)
        available = tf.reduce_sum(tf.cast(selectable, tf.float32), axis=1)
        counts = tf.minimum(tf.maximum(tf.round(self.rate * available), 1.0), available)
        used = tf.range(self.num_masked, dtype=tf.float32) < counts[:, tf.newaxis]
        original = tf.gather(token_ids, positions, batch_dims=1)  # [batch, num_masked]
        coins = tf.random.stateless_uniform(tf.shape(original), coin_seed, alg=GENERATOR)
        drawn = tf.random.stateless_uniform(
            tf.shape(original), word_seed, 0, len(self.word_ids), tf.int32, alg=GENERATOR
        )
        hidden = tf.where(coins < MASK_SHARE, self.mask_id, tf.gather(self.word_ids, drawn))
        is_hidden = used & (coins < MASK_SHARE + RANDOM_SHARE)
        rows = tf.broadcast_to(tf.range(tf.shape(original)[0])[:, tf.newaxis], tf.shape(original))
        masked_ids = tf.tensor_scatter_nd_update(
            token_ids,
            tf.stack([rows, positions], axis=-1),
            tf.where(is_hidden, hidden, original),
        )
        segments = tf.gather(tokens["segment_ids"], positions, batch_dims=1)
        kinds = tf.where(used, tf.where(segments == 1, NAME, IMAGE), UNUSED)
        targets = tf.where(used, tf.gather(words, positions, batch_dims=1), 0)
        inputs = {**tokens, "token_ids": masked_ids, "masked_positions": positions}
        return inputs, tf.stack([targets, kinds], axis=-1)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "word_ids": self.word_ids.tolist(),
            "mask_id": self.mask_id,
            "vocabulary_size": self.vocabulary_size,
            "num_masked": self.num_masked,
            "rate": self.rate,
        }


def masked_count(selectable: int, rate: float) -> int:
    """Number of words drawn from a sequence with this many candidates."""
    return min(max(int(np.round(np.float32(rate) * np.float32(selectable))), 1), selectable)
