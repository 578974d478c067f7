"""BERT's vectors and logits at masked positions (paper, section 3.2), for pre-training."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from covid_lm.backbones.bert_encoder import BertEncoder
from covid_lm.backbones.elementwise import ACTIVATIONS, normalize
from covid_lm.backbones.patch_embedding import InFloat32
from covid_lm.backbones.weights.tensor_names import MASKED_LM_HEAD


@keras.saving.register_keras_serializable(package="covid_lm")
class MaskedLmEncoder(BertEncoder):
    """Computes a BERT's output at the masked positions, equal to keras_nlp's sequence output.

    In the last layer, only keys and values are computed at all positions.

    Constructor arguments: as `BertEncoder`. Call arguments: as `ClsEncoder`, with
    `masked_positions`, int32 [batch, masked], of any order, masked static.

    Returns:
        [batch, masked, hidden_dim] in the compute dtype.
    """

    def _encode(self, inputs, training):
        x, bias = self._before_last_layer(inputs, training)  # [batch * length, hidden]
        positions = inputs["masked_positions"]
        length, masked = bias.shape[-1], positions.shape[-1]
        starts = ops.arange(ops.shape(positions)[0], dtype=positions.dtype) * length
        rows = ops.reshape(positions + starts[:, None], (-1,))
        x_masked = ops.take(x, rows, axis=0)  # [batch * masked, hidden]
        last = self.backbone.transformer_layers[-1]
        key, value = self._heads(last, ("key", "value"), x, length, training)
        (query,) = self._heads(last, ("query",), x_masked, masked, training)
        context = self._attend(query, key, value, bias, training)
        y = self._after_attention(last, x_masked, context, masked, training)
        return ops.reshape(y, (-1, masked, self.backbone.hidden_dim))

    def compute_output_shape(self, input_shape):
        return (*input_shape["masked_positions"], self.backbone.hidden_dim)


@keras.saving.register_keras_serializable(package="covid_lm")
class MaskedLmHead(keras.layers.Layer):
    """Maps vectors to logits: dense layer, activation, normalization and the tied decoder.

    The decoder's kernel is the token embedding's rows of `word_ids`, the words that a masked
    position can have. Other words get no gradient from the decoder, so the softmax over the whole
    vocabulary that other programs compute from the saved weights is a different distribution.

    Args:
        token_embedding: the backbone's layer, with `embeddings` [vocabulary, hidden_dim].
        word_ids: ids of the words, in the order of the logits.
        activation: a key of `ACTIVATIONS`.
        layer_norm_epsilon: added to the variance.
        **kwargs: `dtype`, float32 or mixed_bfloat16, and `name`.
    """

    def __init__(
        self,
        token_embedding: keras.layers.Layer,
        word_ids: Sequence[int] | np.ndarray,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-12,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.token_embedding = token_embedding
        self.word_ids = np.asarray(word_ids, np.int32)
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.decoder = InFloat32(self._decoder_rows, name="decoder")

    def build(self, input_shape: tuple) -> None:
        vocabulary_size, width = self.token_embedding.embeddings.shape
        normal = keras.initializers.TruncatedNormal(stddev=0.02)
        for name, shape, initializer in (
            ("transform_kernel", (width, width), normal),
            ("transform_bias", (width,), "zeros"),
            ("layer_norm_gamma", (width,), "ones"),
            ("layer_norm_beta", (width,), "zeros"),
            ("decoder_bias", (vocabulary_size,), "zeros"),
        ):
            setattr(self, name, self.add_weight(shape=shape, initializer=initializer, name=name))

    def call(self, x):
        """Maps [batch, masked, hidden_dim] to float32 logits [batch, masked, words]."""
        masked, width = x.shape[-2:]
        x = ops.reshape(x, (-1, width))  # [batch * masked, hidden]
        x = ops.add(ops.matmul(x, self.transform_kernel), self.transform_bias)
        x = ACTIVATIONS[self.activation](x)
        x = normalize(x, self.layer_norm_gamma, self.layer_norm_beta, self.layer_norm_epsilon)
        kernel, bias = self.decoder(ops.convert_to_tensor(self.word_ids))
        x = ops.matmul(x, ops.transpose(ops.cast(kernel, x.dtype)))
        # In float32, because a softmax of bfloat16 logits would round the loss to two digits.
        x = ops.add(ops.cast(x, "float32"), bias)
        return ops.reshape(x, (-1, masked, len(self.word_ids)))

    def _decoder_rows(self, word_ids):
        """Returns kernel and bias of the words, float32 [words, hidden_dim] and [words]."""
        kernel = ops.take(self.token_embedding.embeddings, word_ids, axis=0)
        return kernel, ops.take(self.decoder_bias, word_ids, axis=0)

    def own_weights(self) -> dict[str, keras.Variable]:
        """Returns the variables by the keys of `LoadedWeights.masked_lm_head`."""
        return {key: getattr(self, key) for key in MASKED_LM_HEAD}

    def compute_output_spec(self, x: Any) -> keras.KerasTensor:
        return keras.KerasTensor((*x.shape[:-1], len(self.word_ids)), "float32")

    def get_config(self) -> dict:
        values = {name: getattr(self, name) for name in ("activation", "layer_norm_epsilon")}
        embedding = keras.saving.serialize_keras_object(self.token_embedding)
        words = self.word_ids.tolist()
        return {**super().get_config(), **values, "token_embedding": embedding, "word_ids": words}

    @classmethod
    def from_config(cls, config: dict) -> "MaskedLmHead":
        embedding = keras.saving.deserialize_keras_object(config["token_embedding"])
        return cls(**{**config, "token_embedding": embedding})
