"""Weights of an encoder that isn't trained any more, prepared once for all of its inference.

In bfloat16, kernels are constants of the graph: oneDNN then arranges them once for the processor's
matrix units (AMX), and nothing is cast or concatenated in a call. In float32, the first layer's
projections are looked up instead of multiplied, because tokens are few words at fixed positions.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from keras_nlp.models import BertBackbone

Tensor = Any  # the backends of Keras share no type
PROJECTIONS = ("query", "key", "value")
MOST_BYTES = 512 * 2**20  # of constants; a graph of more than 2 GiB can't be stored


class FixedWeights:
    """Constants of a backbone's graph; its later weights don't change them.

    Attributes:
        first_layer: the look-up in place of the first layer's projections, or None.

    Args:
        backbone: a `BertBackbone` as `build_backbone` returns it.
        dtype: of the arithmetic, "float32" or "bfloat16".
        words: ids of the words that sequences can hold, int [words]; by default the whole
            vocabulary.
    """

    def __init__(self, backbone: BertBackbone, dtype: str, words: np.ndarray | None = None):
        self.first_layer: FirstLayer | None = None
        self._kernels: dict[int, np.ndarray] = {}
        layers = backbone.transformer_layers
        if dtype == "bfloat16":
            # Not the biases: TensorFlow removes constant ones of zeros, and with them the fusion.
            dense = [layer for block in layers for layer in _dense_layers(block)]
            if 2 * sum(layer.count_params() for layer in dense) <= MOST_BYTES:
                for layer in dense:
                    kernel = ops.cast(_matrix(layer)[0], dtype)
                    self._kernels[id(layer)] = ops.convert_to_numpy(kernel)
        elif dtype == "float32" and backbone.patch_embedding is None and len(layers) > 1:
            self.first_layer = FirstLayer(backbone, words)

    def kernel(self, dense: Sequence[keras.layers.Layer], dtype: Any) -> Tensor | None:
        """The kernels [inputs, outputs] of dense layers side by side.

        Returns None if they are not constant or have another dtype: gradients with respect to
        embeddings are computed in float32.
        """
        constant = keras.backend.standardize_dtype(dtype) == "bfloat16"
        if not constant or any(id(layer) not in self._kernels for layer in dense):
            return None
        kernels = [self._kernels[id(layer)] for layer in dense]
        return ops.convert_to_tensor(np.concatenate(kernels, axis=1))


class FirstLayer:
    """The first layer's queries, keys and values as sums of table rows, in float32.

    With the embeddings' normalization of t + p + s, word, position and segment, written as
    gamma (t' + p' + s') / sigma + beta, where ' subtracts a vector's mean, a projection W of it is
    (t' gamma W + s' gamma W + p' gamma W) / sigma + beta W. The sums in parentheses are rows of two
    tables, and a look-up replaces the product of [batch * length, hidden] and [hidden, 3 hidden].

    Args: as `FixedWeights`.
    """

    def __init__(self, backbone: BertBackbone, words: np.ndarray | None = None):
        embeddings = _array(backbone.token_embedding.embeddings)
        segments = _centered(_array(backbone.segment_embedding.embeddings))
        self._rows: np.ndarray | None = None  # of the words in the table
        if words is not None:
            self._rows = np.zeros(len(embeddings), np.int32)
            self._rows[words] = np.arange(len(words))
            embeddings = embeddings[words]
        self._num_words = len(embeddings)
        norm = backbone.embeddings_layer_norm
        attention = backbone.transformer_layers[0]._self_attention_layer
        dense = [getattr(attention, f"{name}_dense") for name in PROJECTIONS]
        kernels, biases = zip(*(map(_array, _matrix(layer)) for layer in dense), strict=True)
        kernel = np.concatenate(kernels, axis=1)
        scaled = _array(norm.gamma)[:, None] * kernel
        # A block of rows per segment: [segments * words, 3 * hidden].
        sums = (segments[:, None, :] + _centered(embeddings)).reshape(-1, len(kernel))
        positions = _array(backbone.position_embedding.position_embeddings)
        self._words = (sums @ scaled).astype(np.float32)
        self._positions = (_centered(positions) @ scaled).astype(np.float32)
        shift = _array(norm.beta) @ kernel + np.concatenate(biases)
        self._shift = shift.astype(np.float32)

    @property
    def num_bytes(self) -> int:
        """Size of the tables."""
        return self._words.nbytes + self._positions.nbytes

    def __call__(self, token_ids: Tensor, segment_ids: Tensor, factor: Tensor) -> Tensor:
        """Looks up the projections of tokens.

        Args:
            token_ids, segment_ids: int32 [batch, length].
            factor: float32 [batch * length, 1], 1 / sigma of each token's sum of embeddings.

        Returns:
            queries, keys and values, float32 [batch * length, 3 * hidden].
        """
        if self._rows is not None:
            token_ids = ops.take(ops.convert_to_tensor(self._rows), token_ids, axis=0)
        rows = token_ids + segment_ids * self._num_words
        x = ops.take(ops.convert_to_tensor(self._words), rows, axis=0)
        x = x + ops.convert_to_tensor(self._positions[: token_ids.shape[1]])
        x = ops.reshape(x, (-1, x.shape[-1]))
        return ops.add(x * factor, ops.convert_to_tensor(self._shift))


def _dense_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    attention = layer._self_attention_layer
    projections = [getattr(attention, f"{name}_dense") for name in (*PROJECTIONS, "output")]
    return [*projections, layer._feedforward_intermediate_dense, layer._feedforward_output_dense]


def _matrix(dense: keras.layers.Layer) -> tuple[Any, Any]:
    """Kernel [inputs, outputs] and bias [outputs] of a dense layer with several axes."""
    inputs = dense.kernel.shape[: len(dense.kernel.shape) - len(dense.bias.shape)]
    return ops.reshape(dense.kernel, (math.prod(inputs), -1)), ops.reshape(dense.bias, (-1,))


def _array(values: Any) -> np.ndarray:
    """A variable in float64, so that the tables are exact to float32's last digits."""
    return ops.convert_to_numpy(ops.cast(values, "float32")).astype(np.float64)


def _centered(rows: np.ndarray) -> np.ndarray:
    return rows - rows.mean(axis=-1, keepdims=True)
