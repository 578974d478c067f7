"""Embedding of tokens of several bytes, and the backbone that may have one."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from keras_nlp.models import BertBackbone

from covid_lm.backbones.configs import BackboneConfig, PatchConfig
from covid_lm.backbones.training_passes import look_up_in_training

LINE, NOISE = 1.0, 0.1  # initial scale of the bytes' embeddings and of their noise


@keras.saving.register_keras_serializable(package="covid_lm")
class PatchEmbedding(keras.layers.Layer):
    """Embeds tokens of several bytes, before positions and segments are added.

    A byte is a word of the vocabulary with an embedding of a few numbers. With the stem `patch`,
    one dense layer over all places maps a token's bytes to its vector: a convolution over the bytes
    whose kernel and stride are the token's length (ByteFormer, Horton et al. 2023). With `conv`,
    the embeddings of the whole image, in two dimensions, go through 3x3 convolutions that end at
    one vector per patch (CCT, Hassani et al. 2021); other tokens have a dense layer of their own.

    Args:
        vocabulary_size: rows of the table.
        hidden_dim: width of a token's vector.
        patches: geometry of the image, width of a byte's embedding, and stem.
        words: layer that looks up embeddings of width `byte_width`, those of a pretrained BERT;
            None for a table of its own.
        **kwargs: `name` and `dtype`, float32 or mixed_bfloat16.
    """

    def __init__(
        self,
        vocabulary_size: int,
        hidden_dim: int,
        patches: PatchConfig | dict,
        words: keras.layers.Layer | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.hidden_dim = hidden_dim
        self.patches = PatchConfig(**patches) if isinstance(patches, dict) else patches
        self.table = words or keras.layers.Embedding(
            vocabulary_size, self.patches.byte_width, dtype="float32", name="bytes"
        )
        dtype = self.dtype_policy
        self.dense = keras.layers.Dense(hidden_dim, dtype=dtype, name="dense")
        strides = self.patches.strides if self.patches.stem == "conv" else ()
        filters = self.patches.filters(hidden_dim)
        self.convolutions = [
            keras.layers.Conv2D(
                filters[index],
                3,
                stride,
                padding="same",
                activation="relu" if index < len(strides) - 1 else None,
                kernel_initializer="he_normal",
                dtype=dtype,
                name=f"convolution_{index}",
            )
            for index, stride in enumerate(strides)
        ]
        self.build()

    def build(self, input_shape: Any = None) -> None:
        patches = self.patches
        self.table.build((None, None, patches.num_bytes))
        places = 1 if self.convolutions else patches.num_bytes
        self.dense.build((None, places * patches.byte_width))
        channels = patches.channels * patches.byte_width
        for layer in self.convolutions:
            layer.build((None, None, None, channels))
            channels = layer.filters
        self.built = True

    def call(self, token_ids, training=None):
        """Embeds token ids, int32 [batch, length, bytes]: [batch, length, hidden_dim]."""
        if training and isinstance(self.table, keras.layers.Embedding):
            x = look_up_in_training(self.table.embeddings, token_ids)
        else:
            x = self.embed_bytes(token_ids)
        return self.from_bytes(ops.cast(x, self.compute_dtype))

    def embed_bytes(self, token_ids):
        """Looks up each byte: float32 [batch, length, bytes, byte_width]."""
        return self.table(token_ids)

    def from_bytes(self, x):
        """Maps embeddings of bytes, as from `embed_bytes`, to vectors of tokens of x's dtype."""
        if not self.convolutions:
            return self._project(x)
        start, end = 1, 1 + self.patches.num_patches
        before, image, after = ops.split(x, [start, end], axis=1)
        before, after = self._project(before[:, :, :1]), self._project(after[:, :, :1])
        return ops.concatenate([before, self._convolve(image), after], axis=1)

    def _project(self, x):
        """Applies the dense layer to [batch, length, places, width]."""
        length, places, width = x.shape[1:]
        x = ops.reshape(x, (-1, places * width))  # [batch * length, places * width]
        x = ops.matmul(x, ops.cast(self.dense.kernel, x.dtype))
        x = ops.add(x, ops.cast(self.dense.bias, x.dtype))
        return ops.reshape(x, (-1, length, self.hidden_dim))

    def _convolve(self, x):
        """Maps [batch, patches, bytes, width] to [batch, patches, hidden_dim]."""
        grid, side, channels = self.patches.grid, self.patches.patch_size, self.patches.channels
        width = x.shape[-1]
        # Batch and rows of patches are one axis, because LiteRT transposes at most 6.
        x = ops.reshape(x, (-1, grid, channels, side, side, width))
        x = ops.transpose(x, (0, 3, 1, 4, 2, 5))
        x = ops.reshape(x, (-1, grid * side, grid * side, channels * width))
        for layer in self.convolutions:
            x = ops.conv(x, ops.cast(layer.kernel, x.dtype), layer.strides, padding="same")
            x = layer.activation(ops.add(x, ops.cast(layer.bias, x.dtype)))
        return ops.reshape(x, (-1, grid * grid, self.hidden_dim))

    def order_values(self, value_ids: Sequence[int] | np.ndarray, seed: int) -> None:
        """Sets the start of training: the rows of the byte values on a line, plus noise.

        Neighbouring values begin as neighbours; other words begin near zero.

        Args:
            value_ids: ids of the words "0" to "255".
            seed: of the noise.
        """
        shape = tuple(self.table.embeddings.shape)
        rows = NOISE * np.random.default_rng(seed).standard_normal(shape)
        rows[np.asarray(value_ids)] += LINE * np.linspace(-1, 1, 256)[:, np.newaxis]
        self.table.embeddings.assign(rows.astype(np.float32))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:2], self.hidden_dim)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "hidden_dim": self.hidden_dim,
            "patches": self.patches.to_dict(),
        }


def add_patch_embedding(
    backbone: BertBackbone, vocabulary_size: int, patches: PatchConfig | None
) -> BertBackbone:
    """Adds the attribute `patch_embedding`, a `PatchEmbedding`, or None without patches.

    Returns:
        the same backbone.
    """
    backbone.patch_embedding = None
    if patches is None:
        return backbone
    words = None
    if patches.own_table:
        backbone.token_embedding.trainable = False
    else:
        table = backbone.token_embedding
        words = InFloat32(lambda ids: ops.take(table.embeddings, ids, axis=0), name="words")
    backbone.patch_embedding = PatchEmbedding(
        vocabulary_size,
        backbone.hidden_dim,
        patches,
        words,
        dtype=backbone.dtype_policy,
        name="patch_embedding",
    )
    return backbone


def build_backbone(
    config: BackboneConfig, dtype: str | keras.DTypePolicy | None = None
) -> BertBackbone:
    """Builds a randomly initialized `BertBackbone`.

    Its own forward pass always uses the tanh GELU and epsilon 1e-12; `config.activation`,
    `config.layer_norm_epsilon` and `config.stochastic_depth` apply in the encoders that use its
    weights. With patches, the backbone gets a `patch_embedding`.
    """
    shape = dataclasses.asdict(config)
    for name in ("activation", "layer_norm_epsilon", "stochastic_depth", "patches"):
        del shape[name]
    if config.patches is not None and config.patches.own_table:
        shape["vocabulary_size"] = 1  # a row that nothing reads
    backbone = BertBackbone(**shape, dtype=dtype, name="backbone")
    return add_patch_embedding(backbone, config.vocabulary_size, config.patches)


class InFloat32(keras.layers.Layer):
    """Calls a function that reads variables in float32, under any surrounding policy.

    Under a mixed policy, a lookup in the token embedding would first cast the whole table.
    """

    def __init__(self, function: Callable, **kwargs: Any):
        super().__init__(dtype="float32", **kwargs)
        self.function = function

    def call(self, *inputs):
        return self.function(*inputs)
