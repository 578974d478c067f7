"""Functional layer 6, Feature extraction (paper, section 3.1, equation 2)."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("covid_lm")
class FeatureExtraction(keras.layers.Layer):
    """Applies dropout and one dense layer to the [CLS] vector; the model's softmax follows.

    Logits are float32 under every dtype policy, because a softmax in bfloat16 would round
    probabilities to three digits.

    Args:
        num_classes: number of outputs of the dense layer.
        dropout: the paper's 0.05 (section 4.1).
    """

    def __init__(self, num_classes: int, dropout: float = 0.05, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.dense = keras.layers.Dense(
            num_classes,
            kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.02),
            dtype=self.dtype_policy,
            name="dense",
        )

    def build(self, input_shape: tuple) -> None:
        self.dense.build(input_shape)

    def call(self, embedding: Any, training: bool | None = None) -> Any:
        """Maps [batch, hidden_dim] to float32 logits [batch, num_classes]."""
        if training:
            logits = self.dense(self.dropout(embedding, training=training))
        else:
            logits = self.dense(pad_batch(embedding))[: ops.shape(embedding)[0]]
        return ops.cast(logits, "float32")

    def compute_output_spec(
        self, embedding: Any, training: bool | None = None
    ) -> keras.KerasTensor:
        return keras.KerasTensor((*embedding.shape[:-1], self.num_classes), "float32")


BLOCK = 8


def pad_batch(x):
    """Pads a batch [rows, width] to a multiple of 8 rows, so that results are bit-identical.

    A CPU's matrix product sums the rows of an incomplete block in another order, so the last bit
    of an image's result would depend on the batch that contains it.
    """
    missing = -ops.shape(x)[0] % BLOCK
    return ops.concatenate([x, ops.zeros((missing, x.shape[-1]), x.dtype)], axis=0)
