"""BERT's [CLS] vector, computed from a `BertBackbone`'s weights and with no more work than that
vector needs."""

import keras
from keras import ops

from covid_lm.backbones.attention import attention, attention_with_dropout, dropout, mask_bias
from covid_lm.backbones.bert import ACTIVATIONS
from covid_lm.backbones.named import BackboneConfig
from covid_lm.layers.whole_blocks import in_whole_blocks


@keras.saving.register_keras_serializable(package="covid_lm")
class ClsEncoder(keras.layers.Layer):
    """The [CLS] vector of a BERT (Devlin et al. 2018), equal to the library's own.

    The weights stay the backbone's, which this layer tracks; only the order of the work differs.
    The last layer is computed at position 0 alone. There a head's key projection moves to the
    query's side, q.(x W_k) = (q W_k^T).x, and its value projection behind the average over the
    positions, sum_j p_j (x_j W_v) = (sum_j p_j x_j) W_v, so neither is applied to all positions.
    In the other layers queries, keys and values are one product, and activations are
    [batch * length, hidden_dim] matrices.

    The pooler isn't read and is marked as not trainable.

    Args:
        backbone: the `keras_nlp.models.BertBackbone` whose weights are used.
        activation: of the feed-forward network, a key of `ACTIVATIONS`.
        layer_norm_epsilon: added to the variance in each layer normalization.
        dropout: rate on embeddings, attention probabilities and both residual branches while
            training; None takes the backbone's.
        seed: of the dropout; None draws one.
        **kwargs: `dtype`, by default the backbone's policy, and `name`. float32 and mixed_bfloat16
            are supported; float16 lacks the range of the mask.

    Call arguments:
        inputs: dict of `token_ids`, `segment_ids` and `padding_mask` (1 for a token, 0 for
            padding), int32 [batch, length], length static.
        training: whether to drop.

    Returns:
        [batch, hidden_dim] of the compute dtype.
    """

    def __init__(
        self,
        backbone,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-12,
        dropout: float | None = None,
        seed: int | None = None,
        **kwargs,
    ):
        kwargs.setdefault("dtype", backbone.dtype_policy)
        super().__init__(**kwargs)
        self.backbone = backbone
        self.backbone.pooled_dense.trainable = False
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.dropout = backbone.dropout if dropout is None else dropout
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.head_size = backbone.hidden_dim // backbone.num_heads
        self.embedding = _InFloat32(self._embed, name="embedding")

    def build(self, input_shape):
        # The backbone built its variables when it was made.
        self.built = True

    def call(self, inputs, training=None):
        x = self.embedding(inputs["token_ids"], inputs["segment_ids"])  # [batch * length, hidden]
        x = ops.cast(x, self.compute_dtype)
        return self._encode(x, inputs["padding_mask"], training)

    def from_vectors(self, vectors, padding_mask):
        """The [CLS] vector of embeddings that need not be rows of the tables.

        What `call` computes without training, in float32 whatever the policy: for gradients by
        the embeddings, and for points between them.

        Args:
            vectors: float32 [batch, length, hidden_dim], sums of token and segment embeddings.
            padding_mask: int32 [batch, length].

        Returns:
            float32 [batch, hidden_dim].
        """
        return self._encode(self._add_positions(vectors), padding_mask, training=False)

    def _encode(self, x, padding_mask, training):
        """From the normalized embeddings, [batch * length, hidden], to the [CLS] vector."""
        length = padding_mask.shape[-1]
        bias = mask_bias(padding_mask, x.dtype)  # [batch, length]
        x = self._drop(x, training)
        *layers, last = self.backbone.transformer_layers
        for layer in layers:
            context = self._context(layer._self_attention_layer, x, bias, length, training)
            x = self._after_attention(layer, x, context, training)
        x = ops.reshape(x, (-1, length, self.backbone.hidden_dim))
        context = self._first_context(last._self_attention_layer, x, bias, training)
        first = x[:, 0, :]  # [batch, hidden]
        if training:
            return self._after_attention(last, first, context, training)
        y = self._after_attention(last, in_whole_blocks(first), in_whole_blocks(context), training)
        return y[: ops.shape(first)[0]]

    def _embed(self, token_ids, segment_ids):
        """The normalized sum of three embeddings: float32 [batch * length, hidden]."""
        backbone = self.backbone
        tokens = ops.take(backbone.token_embedding.embeddings, token_ids, axis=0)
        segments = ops.take(backbone.segment_embedding.embeddings, segment_ids, axis=0)
        return self._add_positions(tokens + segments)

    def _add_positions(self, x):
        """With positions, and normalized: [batch, length, hidden] to [batch * length, hidden]."""
        backbone = self.backbone
        positions = ops.convert_to_tensor(backbone.position_embedding.position_embeddings)
        x = x + positions[: x.shape[1]]
        x = ops.reshape(x, (-1, backbone.hidden_dim))  # [batch * length, hidden]
        return self._normalize(backbone.embeddings_layer_norm, x)

    def _context(self, layer, x, bias, length, training):
        """Attention at all positions, up to the output projection: [batch * length, hidden]."""
        hidden, heads = self.backbone.hidden_dim, self.backbone.num_heads
        projections = (layer.query_dense, layer.key_dense, layer.value_dense)
        kernels = [ops.reshape(dense.kernel, (hidden, hidden)) for dense in projections]
        biases = [ops.reshape(dense.bias, (hidden,)) for dense in projections]
        x = ops.matmul(x, ops.concatenate(kernels, axis=1))
        x = ops.add(x, ops.concatenate(biases, axis=0))  # [batch * length, 3 * hidden]
        x = ops.reshape(x, (-1, length, 3, heads, self.head_size))
        query, key, value = ops.unstack(ops.transpose(x, (2, 0, 3, 1, 4)), 3, axis=0)
        if training:
            rate, seed = self.dropout, self.seed_generator
            context = attention_with_dropout(query, key, value, bias, rate, seed)
        else:
            context = attention(query, key, value, bias)
        return ops.reshape(ops.transpose(context, (0, 2, 1, 3)), (-1, hidden))

    def _first_context(self, layer, x, bias, training):
        """As `_context` for position 0 of x [batch, length, hidden] alone: [batch, hidden]."""
        hidden, heads = self.backbone.hidden_dim, self.backbone.num_heads
        query = _project(layer.query_dense, x[:, 0, :]) * self.head_size**-0.5
        query = ops.reshape(query, (-1, heads, self.head_size))
        key_kernel = ops.convert_to_tensor(layer.key_dense.kernel)  # [hidden, heads, size]
        query_in_x = ops.einsum("bhs,dhs->bhd", query, key_kernel)  # [batch, heads, hidden]
        scores = ops.matmul(query_in_x, ops.transpose(x, (0, 2, 1)))  # [batch, heads, length]
        # The same for all positions, so without effect on the softmax; it gives the key bias the
        # (vanishing) gradient that it has in the library's backbone.
        scores = scores + ops.sum(query * layer.key_dense.bias, axis=-1, keepdims=True)
        weights = self._drop(ops.softmax(scores + bias[:, None, :], axis=-1), training)
        average = ops.matmul(weights, x)  # [batch, heads, hidden]
        value_kernel = ops.convert_to_tensor(layer.value_dense.kernel)  # [hidden, heads, size]
        context = ops.einsum("bhd,dhs->bhs", average, value_kernel)
        # Dropped weights don't sum to 1, and the value bias is weighted as the values are.
        context = context + ops.sum(weights, axis=-1, keepdims=True) * layer.value_dense.bias
        return ops.reshape(context, (-1, hidden))

    def _after_attention(self, layer, x, context, training):
        """Output projection, residual and feed-forward network on rows of x."""
        y = self._drop(_project(layer._self_attention_layer.output_dense, context), training)
        # The residual goes second: product, bias and sum are then one oneDNN call.
        x = self._normalize(layer._self_attention_layer_norm, y + x)
        y = ACTIVATIONS[self.activation](_project(layer._feedforward_intermediate_dense, x))
        y = self._drop(_project(layer._feedforward_output_dense, y), training)
        return self._normalize(layer._feedforward_layer_norm, y + x)

    def _normalize(self, norm, x):
        dtype = x.dtype
        x = ops.cast(x, "float32")
        centered = x - ops.mean(x, axis=-1, keepdims=True)
        variance = ops.mean(ops.square(centered), axis=-1, keepdims=True)
        x = centered * ops.rsqrt(variance + self.layer_norm_epsilon)
        x = ops.add(x * ops.cast(norm.gamma, "float32"), ops.cast(norm.beta, "float32"))
        return ops.cast(x, dtype)

    def _drop(self, x, training):
        if not training or not self.dropout:
            return x
        return dropout(x, self.dropout, self.seed_generator)

    def compute_output_shape(self, input_shape):
        return (input_shape["token_ids"][0], self.backbone.hidden_dim)

    def get_config(self):
        config = super().get_config()
        config.update(
            {
                "backbone": keras.saving.serialize_keras_object(self.backbone),
                "activation": self.activation,
                "layer_norm_epsilon": self.layer_norm_epsilon,
                "dropout": self.dropout,
                "seed": self.seed,
            }
        )
        return config

    @classmethod
    def from_config(cls, config):
        backbone = keras.saving.deserialize_keras_object(config["backbone"])
        return cls(**{**config, "backbone": backbone})


class _InFloat32(keras.layers.Layer):
    """Calls a function with variables read in float32, whatever the policy around it.

    Under a mixed policy a variable is cast when it is read, and the rows wanted of the token
    embedding would be taken from a cast copy of all of it.
    """

    def __init__(self, function, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        self.function = function

    def build(self, *input_shapes):
        self.built = True

    def call(self, *inputs):
        return self.function(*inputs)


def _project(dense, x):
    """x W + b for rows x, where the kernel may have several input or output axes."""
    kernel = ops.reshape(dense.kernel, (x.shape[-1], -1))
    # `ops.add` and not `+`: on TensorFlow it makes the BiasAdd that is fused with the product.
    return ops.add(ops.matmul(x, kernel), ops.reshape(dense.bias, (-1,)))


def exact_flops(config: BackboneConfig, length: int) -> int:
    """Floating-point operations of the matrix products behind one [CLS] vector.

    A product [m, k] x [k, n] counts 2mkn; softmax, normalizations and activations count nothing.
    With L tokens, width d, feed-forward width i and h heads:

    - every layer but the last: 8Ld^2 for queries, keys, values and the output projection, 4L^2d
      for scores and averages, 4Ldi for the feed-forward network;
    - the last, at one position: 8d^2 for its four projections, 4hLd for scores and averages over
      the L vectors of full width, 4di.

    Args:
        config: shape of the backbone.
        length: tokens per sequence.

    Returns:
        Operations per sequence, for instance 16.1e9 for rbt3 at 512 tokens.
    """
    d, i = config.hidden_dim, config.intermediate_dim
    full = 8 * length * d**2 + 4 * length**2 * d + 4 * length * d * i
    last = 8 * d**2 + 4 * config.num_heads * length * d + 4 * d * i
    return (config.num_layers - 1) * full + last
