"""Image tokens hidden at random in training, so that a model leans on no single one."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from covid_lm.layers.token_masking import GENERATOR


@keras.saving.register_keras_serializable("covid_lm")
class TokenDropout(keras.layers.Layer):
    """Replaces each token of an image by [MASK] with a probability of `rate`.

    Special tokens, and what stands for the file name, stay.

    Args:
        rate: 0 or more and below 1.
        image_token_ids: ids that a channel value can have (`TokenEncoder.image_token_ids`).
        mask_id: the id of [MASK].
        vocabulary_size: upper bound of all ids.
    """

    def __init__(
        self,
        rate: float,
        image_token_ids: Sequence[int] | np.ndarray,
        mask_id: int,
        vocabulary_size: int,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.rate = rate
        self.image_token_ids = np.asarray(image_token_ids, np.int32)
        self.mask_id = mask_id
        self.vocabulary_size = vocabulary_size
        self._of_image = np.zeros(vocabulary_size, bool)
        self._of_image[self.image_token_ids] = True

    def call(self, tokens: dict[str, tf.Tensor], seeds: tf.Tensor) -> dict[str, tf.Tensor]:
        """Hides.

        Args:
            tokens: `token_ids`, `segment_ids` and `padding_mask`, int32 [batch, length].
            seeds: int32 [batch, 2]; the same seed and tokens give the same [MASK]s.

        Returns:
            The tokens, with other `token_ids`.
        """
        token_ids = tokens["token_ids"]
        length = token_ids.shape[1]
        draws = tf.map_fn(
            lambda seed: tf.random.stateless_uniform([length], seed, alg=GENERATOR),
            seeds,
            fn_output_signature=tf.TensorSpec([length], tf.float32),
        )
        # A name's digits are words of channel values, too: the segment tells them apart.
        of_image = tf.gather(tf.constant(self._of_image), token_ids) & (tokens["segment_ids"] == 0)
        hidden = of_image & (draws < self.rate)
        return {**tokens, "token_ids": tf.where(hidden, self.mask_id, token_ids)}

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "rate": self.rate,
            "image_token_ids": self.image_token_ids.tolist(),
            "mask_id": self.mask_id,
            "vocabulary_size": self.vocabulary_size,
        }
