"""Functional layer 5, Embedding (paper, section 3.1): BERT's [CLS] vector with minimal work."""

import keras
from keras import ops

from covid_lm.backbones.pooled_encoder import PooledEncoder
from covid_lm.layers.feature_extraction import pad_batch


@keras.saving.register_keras_serializable(package="covid_lm")
class ClsEncoder(PooledEncoder):
    """Computes the [CLS] vector of a BERT (Devlin et al. 2018), equal to keras_nlp's.

    The last layer is computed at position 0 only. There the key projection of a head moves to the
    query, q.(x W_k) = (q W_k^T).x, and the value projection follows the average over positions,
    sum_j p_j (x_j W_v) = (sum_j p_j x_j) W_v, so that neither is applied to all positions.

    Constructor and call arguments: as `PooledEncoder`.
    """

    def _last_layer(self, x, bias, training):
        """Applies the last layer at position 0 of x [batch * length, hidden]: [batch, hidden]."""
        x = ops.reshape(x, (-1, bias.shape[-1], self.backbone.hidden_dim))
        last = self.backbone.transformer_layers[-1]
        context = self._first_context(last._self_attention_layer, x, bias, training)
        first = x[:, 0, :]  # [batch, hidden]
        if training:
            return self._after_attention(last, first, context, 1, training)
        y = self._after_attention(last, pad_batch(first), pad_batch(context), 1, training)
        return y[: ops.shape(first)[0]]

    def _first_context(self, layer, x, bias, training):
        """As `_attend`, for position 0 of x [batch, length, hidden] only: [batch, hidden]."""
        hidden, heads = self.backbone.hidden_dim, self.backbone.num_heads
        query = self._project(x[:, 0, :], layer.query_dense) * self._query_scale()
        query = ops.reshape(query, (-1, heads, self.head_size))
        key_kernel = self._head_kernels(layer.key_dense)
        query_in_x = ops.einsum("bhs,dhs->bhd", query, key_kernel)  # [batch, heads, hidden]
        scores = ops.matmul(query_in_x, ops.transpose(x, (0, 2, 1)))  # [batch, heads, length]
        # The same for all positions, so without effect on the softmax, but it gives the key bias
        # the (vanishing) gradient that it has in keras_nlp's backbone.
        scores = scores + ops.sum(query * layer.key_dense.bias, axis=-1, keepdims=True)
        weights = self._drop(ops.softmax(scores + bias[:, None, :], axis=-1), training)
        average = ops.matmul(weights, x)  # [batch, heads, hidden]
        value_kernel = self._head_kernels(layer.value_dense)
        context = ops.einsum("bhd,dhs->bhs", average, value_kernel)
        # Weights after dropout don't sum to 1, and the value bias has the values' weights.
        context = context + ops.sum(weights, axis=-1, keepdims=True) * layer.value_dense.bias
        return ops.reshape(context, (-1, hidden))

    def _head_kernels(self, dense):
        """Returns the kernel of keys or values, [hidden, heads, size]."""
        if self._fixed is not None and self._fixed.constant:
            return ops.reshape(self._fixed.kernel([dense]), dense.kernel.shape)
        return ops.convert_to_tensor(dense.kernel)
