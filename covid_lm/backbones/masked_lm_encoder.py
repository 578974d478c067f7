"""BERT's vectors at chosen positions, computed from a `BertBackbone`'s weights."""

import keras
from keras import ops

from covid_lm.backbones.bert_encoder import BertEncoder


@keras.saving.register_keras_serializable(package="covid_lm")
class MaskedLmEncoder(BertEncoder):
    """A BERT's last layer at the masked positions, equal to the library's sequence output there.

    All positions give the last layer its keys and values; queries, output projection and
    feed-forward network are those of the masked positions alone, the only ones that the loss
    reads: 15% of them instead of all.

    Constructor arguments: as `BertEncoder`.

    Call arguments:
        inputs: dict of `token_ids`, `segment_ids` and `padding_mask` (1 for a token, 0 for
            padding), int32 [batch, length], and `masked_positions`, int32 [batch, masked], of any
            order; length and masked static.
        training: whether to drop.

    Returns:
        [batch, masked, hidden_dim] of the compute dtype.
    """

    def call(self, inputs, training=None):
        x, bias = self._before_last_layer(inputs, training)  # [batch * length, hidden]
        positions = inputs["masked_positions"]
        length, masked = bias.shape[-1], positions.shape[-1]
        starts = ops.arange(ops.shape(positions)[0], dtype=positions.dtype) * length
        rows = ops.reshape(positions + starts[:, None], (-1,))
        x_masked = ops.take(x, rows, axis=0)  # [batch * masked, hidden]
        last = self.backbone.transformer_layers[-1]
        layer = last._self_attention_layer
        key, value = self._heads((layer.key_dense, layer.value_dense), x, length)
        (query,) = self._heads((layer.query_dense,), x_masked, masked)
        context = self._attend(query, key, value, bias, training)
        y = self._after_attention(last, x_masked, context, training)
        return ops.reshape(y, (-1, masked, self.backbone.hidden_dim))

    def compute_output_shape(self, input_shape):
        return (*input_shape["masked_positions"], self.backbone.hidden_dim)
