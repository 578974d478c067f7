"""Base of the fast encoders: a `BertBackbone`'s layers, computed in few, large products."""

from typing import Any

import keras
import numpy as np
from keras import ops
from keras_nlp.models import BertBackbone

from covid_lm.backbones.attention import attention, attention_in_training, mask_bias
from covid_lm.backbones.configs import PatchConfig
from covid_lm.backbones.elementwise import (
    ACTIVATIONS,
    branch_factors,
    draw_seed,
    normalize,
    normalize_fused,
    reshape_like,
)
from covid_lm.backbones.fixed_weights import PROJECTIONS, FixedWeights
from covid_lm.backbones.parallel_parts import TokenBlocks, in_halves, side_by_side
from covid_lm.backbones.patch_embedding import InFloat32, add_patch_embedding
from covid_lm.backbones.training_passes import (
    activate_in_training,
    dropout_in_training,
    normalize_sum_in_training,
    split_in_training,
)


class BertEncoder(keras.layers.Layer):
    """All layers of a BERT (Devlin et al. 2018) except the last, which subclasses compute.

    The weights are the backbone's, which this layer tracks; only the order of computation differs.
    Queries, keys and values are one product, and activations are [batch * length, hidden_dim]
    matrices. The pooler isn't used and is marked as not trainable. Subclasses define `_encode`, the
    call for a batch or half of one (`parallel_parts`).

    Args:
        backbone: the `keras_nlp.models.BertBackbone` with the weights.
        activation: activation of the feed-forward network, a key of `ACTIVATIONS`.
        layer_norm_epsilon: added to the variance in each layer normalization.
        dropout: rate on embeddings, attention probabilities and both residual branches while
            training; the backbone's by default.
        stochastic_depth: see `BackboneConfig`.
        seed: seed of the dropout; random by default.
        **kwargs: `name` and `dtype`, by default the backbone's policy. float32 and mixed_bfloat16
            are supported; the mask exceeds the range of float16.
    """

    def __init__(
        self,
        backbone: BertBackbone,
        activation: str = "gelu",
        layer_norm_epsilon: float = 1e-12,
        dropout: float | None = None,
        stochastic_depth: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        kwargs.setdefault("dtype", backbone.dtype_policy)
        super().__init__(**kwargs)
        self.backbone = backbone
        self.backbone.pooled_dense.trainable = False
        self.activation = activation
        self.layer_norm_epsilon = layer_norm_epsilon
        self.dropout = backbone.dropout if dropout is None else dropout
        self.stochastic_depth = stochastic_depth
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.head_size = backbone.hidden_dim // backbone.num_heads
        self.embedding = InFloat32(self._embed, name="embedding")
        self._fixed: FixedWeights | None = None
        self._divides, self._blocks = True, TokenBlocks(1)

    def fix_weights(self, words: np.ndarray | None = None, look_up: bool = True) -> None:
        """Prepares the current weights for inference (`FixedWeights`); ends the training.

        Changes of the weights are not seen from now on. Functions that were compiled before keep
        reading the variables.

        Args:
            words: ids that sequences can hold, int [words]; by default the whole vocabulary.
            look_up: false to compute the first layer's projections, as the benchmark does.
        """
        self._fixed = FixedWeights(
            self.backbone, self.compute_dtype, words, self.layer_norm_epsilon, look_up
        )

    def build(self, input_shape):
        # The backbone has already built its variables.
        self.built = True

    def call(self, inputs, training=None):
        if not self._divides:
            return self._encode(inputs, training)
        return in_halves(lambda half: self._encode(half, training), inputs)

    def _before_last_layer(self, inputs, training):
        """Returns the last layer's input, [batch * length, hidden], and mask, [batch, length]."""
        tokens, segments = inputs["token_ids"], inputs["segment_ids"]
        if self._fixed is not None and training:
            raise RuntimeError("an encoder can't be trained after fix_weights()")
        first = None
        if self._fixed is not None and self._fixed.embeddings is not None:
            tokens, segments = self._fixed.embeddings.indices(tokens, segments), None
            if self._fixed.first_layer is not None:
                first = self._fixed.first_layer(tokens)
        elif self.backbone.patch_embedding is not None:
            tokens = self.backbone.patch_embedding(tokens, training=training)
        x = ops.cast(self.embedding(tokens, segments), self.compute_dtype)
        return self._all_but_last_layer(x, inputs["padding_mask"], training, first)

    def _all_but_last_layer(self, x, padding_mask, training, first=None):
        """As `_before_last_layer`, from the normalized embeddings [batch * length, hidden].

        Args:
            first: the first layer's projections, if they are known.
        """
        bias = mask_bias(padding_mask, x.dtype)  # [batch, length]
        x = self._drop(x, training)
        blocks = self._blocks.split(x, bias.shape[-1])
        for layer in self.backbone.transformer_layers[:-1]:
            blocks, first = self._layer(layer, blocks, bias, training, first), None
        return self._blocks.join(blocks, bias.shape[-1]), bias

    def _layer(self, layer, blocks, bias, training, first=None):
        """Applies a layer to blocks of rows, whose tokens attend to those of all blocks.

        Args:
            blocks: as `TokenBlocks.split` returns them.
            first: as for `_all_but_last_layer`.
        """
        length = bias.shape[-1]
        lengths = self._blocks.lengths(length)
        if first is None:
            pairs = zip(blocks, lengths, strict=True)
            heads = [self._heads(layer, PROJECTIONS, x, rows, training) for x, rows in pairs]
        else:
            pairs = zip(self._blocks.split(first, length), lengths, strict=True)
            heads = [self._split_heads(x, len(PROJECTIONS), rows) for x, rows in pairs]
        queries, keys, values = zip(*heads, strict=True)
        keys, values = (
            [side_by_side(blocks, axis=2) for blocks in zip(*groups, strict=True)]
            for groups in (keys, values)
        )
        contexts = [self._attend(query, keys, values, bias, training) for query in queries]
        of_blocks = zip(blocks, contexts, lengths, strict=True)
        return [self._after_attention(layer, *block, training) for block in of_blocks]

    def _embed(self, tokens, segment_ids):
        """Returns the normalized sum of the embeddings: float32 [batch * length, hidden].

        Args:
            tokens: ids [batch, length], or vectors of patches [batch, length, hidden].
            segment_ids: [batch, length]; None if the ids are rows of the fixed weights' table.
        """
        if segment_ids is None:
            x = self._fixed.embeddings(tokens)
        else:
            if self.backbone.patch_embedding is None:
                tokens = ops.take(self.backbone.token_embedding.embeddings, tokens, axis=0)
            segments = ops.take(self.backbone.segment_embedding.embeddings, segment_ids, axis=0)
            x = tokens + ops.cast(segments, tokens.dtype)
        return self._normalize_embeddings(x)

    def _normalize_embeddings(self, x):
        """Adds positions to x, [batch, length, hidden], and normalizes: [batch * length, hidden].

        The reshape comes last: TensorFlow would merge the sums before and after it if the first
        residual were the only one to read them, and then fuse neither.
        """
        positions = ops.convert_to_tensor(self.backbone.position_embedding.position_embeddings)
        positions = ops.cast(positions[: x.shape[1]], x.dtype)
        x = self._normalize(self.backbone.embeddings_layer_norm, x + positions)
        return ops.reshape(x, (-1, self.backbone.hidden_dim))

    def _heads(self, layer, names, x, length, training):
        """Projects x [batch * length, hidden] to several groups of heads at once.

        Returns:
            per name a list of [batch, heads of the group, length, size].
        """
        dense = [getattr(layer._self_attention_layer, f"{name}_dense") for name in names]
        if not training:
            return self._split_heads(self._project(x, *dense), len(names), length)
        shape = (length, len(names), self.backbone.num_heads, self.head_size)
        heads = split_in_training(*self._product_and_bias(x, *dense), shape)
        return [[x] for x in ops.unstack(heads, len(names), axis=0)]

    def _split_heads(self, x, count, length):
        """Splits [batch * length, count * hidden] as `_heads` returns it."""
        groups = 1 if self._fixed is None else self._fixed.head_groups
        heads = self.backbone.num_heads // groups
        x = ops.reshape(x, (-1, length, count * groups, heads, self.head_size))
        x = ops.unstack(ops.transpose(x, (2, 0, 3, 1, 4)), count * groups, axis=0)
        return [x[i : i + groups] for i in range(0, len(x), groups)]

    def _project(self, x, *dense):
        """Computes x W + b for rows x, with the kernels of dense layers next to each other."""
        # `ops.add`, not `+`: in TensorFlow it gives a BiasAdd, which is fused with the product.
        return ops.add(*self._product_and_bias(x, *dense))

    def _product_and_bias(self, x, *dense):
        """Returns x W and b of `_project`."""
        if self._fixed is not None and self._fixed.constant:
            kernel, biases = self._fixed.kernel(dense), map(self._fixed.bias, dense)
        else:
            kernels = [ops.reshape(layer.kernel, (x.shape[-1], -1)) for layer in dense]
            kernel, biases = side_by_side(kernels), (ops.reshape(d.bias, (-1,)) for d in dense)
        return ops.matmul(x, kernel), side_by_side(list(biases))

    def _query_scale(self):
        """Factor of the scores for queries and keys as `_heads` returns them."""
        scaled = self._fixed is not None and self._fixed.scaled
        return 1.0 if scaled else self.head_size**-0.5

    def _attend(self, query, key, value, bias, training):
        """Computes attention: [batch, queries, groups, heads of a group, size].

        Groups of heads are separate, because their scores together would exceed the caches.
        """
        groups = zip(query, key, value, strict=True)
        if training:
            dropout = (self.dropout, self._seed(self.dropout))
            contexts = [attention_in_training(*heads, bias, *dropout) for heads in groups]
        else:
            contexts = [attention(*heads, bias, self._query_scale()) for heads in groups]
        # [groups, batch, heads of a group, length, size]
        context = contexts[0][None] if len(contexts) == 1 else ops.stack(contexts)
        return ops.transpose(context, (1, 3, 0, 2, 4))

    def _after_attention(self, layer, x, context, rows, training):
        """Applies output projection, residuals and feed-forward network to the rows of x.

        Args:
            rows: of x per image.
        """
        context, dense = reshape_like(context, x), layer._self_attention_layer.output_dense
        norm = layer._self_attention_layer_norm
        x = self._add_branch(x, context, dense, norm, layer, rows, training)
        dense = layer._feedforward_intermediate_dense
        if training:
            y = activate_in_training(*self._product_and_bias(x, dense), self.activation)
        else:
            y = ACTIVATIONS[self.activation](self._project(x, dense))
        dense, norm = layer._feedforward_output_dense, layer._feedforward_layer_norm
        return self._add_branch(x, y, dense, norm, layer, rows, training)

    def _add_branch(self, x, y, dense, norm, layer, rows, training):
        """Adds the projection of y to x and normalizes the sum."""
        if not training:
            # With the residual as second operand, product, bias and sum are one oneDNN call.
            return self._normalize(norm, self._project(y, dense) + x)
        dropout, factors = (self.dropout, self._seed(self.dropout)), None
        layers = self.backbone.transformer_layers
        rate = self.stochastic_depth * layers.index(layer) / max(len(layers) - 1, 1)
        if rate:
            factors = branch_factors(ops.shape(x)[0] // rows, rows, rate, self._seed(rate))
        product_and_bias, epsilon = self._product_and_bias(y, dense), self.layer_norm_epsilon
        return normalize_sum_in_training(x, *product_and_bias, norm, epsilon, *dropout, factors)

    def _normalize(self, norm, x):
        compute = normalize if self._fixed is None else normalize_fused
        return compute(x, norm.gamma, norm.beta, self.layer_norm_epsilon)

    def _seed(self, rate):
        """Draws the seed of a dropout; None if nothing is dropped."""
        return draw_seed(self.seed_generator) if rate else None

    def _drop(self, x, training):
        if not training or not self.dropout:
            return x
        return dropout_in_training(x, self.dropout, self._seed(self.dropout))

    def get_config(self):
        names = ("activation", "layer_norm_epsilon", "dropout", "stochastic_depth", "seed")
        values = {name: getattr(self, name) for name in names}
        backbone = keras.saving.serialize_keras_object(self.backbone)
        embedding = self.backbone.patch_embedding
        if embedding is not None:
            values["patches"] = embedding.patches.to_dict()
            values["vocabulary_size"] = embedding.vocabulary_size
        return {**super().get_config(), **values, "backbone": backbone}

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        backbone = keras.saving.deserialize_keras_object(config.pop("backbone"))
        patches, size = config.pop("patches", None), config.pop("vocabulary_size", None)
        add_patch_embedding(backbone, size, patches and PatchConfig(**patches))
        return cls(backbone, **config)
