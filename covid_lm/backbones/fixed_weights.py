"""Weights of an encoder that isn't trained any more, prepared once for all of its inference.

In bfloat16 and in small encoders, kernels are constants of the graph: oneDNN then arranges them
once for the processor's matrix units (AMX), and nothing is cast or concatenated in a call. In
float32, the first layer's projections are looked up instead of multiplied, because tokens are few
words at fixed positions. Attention is computed for groups of heads, normalizations in the form that
TensorFlow can fuse (`elementwise.normalize_fused`).
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import keras
import numpy as np
from keras import ops
from keras_nlp.models import BertBackbone

Tensor = Any  # the backends of Keras share no type
PROJECTIONS = ("query", "key", "value")
MOST_NUMBER = 2**28  # of constants in bfloat16; a graph of more than 2 GiB can't be stored
SMALL_NUMBER = 2**22  # of those that are faster than variables in float32, too
SCORES = 2**19  # of one image in one product, so that they stay in the processor's cache


class FixedWeights:
    """Constants of a backbone's graph; its later weights don't change them.

    Attributes:
        embeddings: the sums of words' and segments' embeddings, or None for patches.
        first_layer: the look-up in place of the first layer's projections, or None.
        constants: makes all of the constants.
        head_groups: number of equal groups of heads whose attention is computed separately.

    Args:
        backbone: a `BertBackbone` as `build_backbone` returns it.
        dtype: of the arithmetic, "float32" or "bfloat16".
        words: ids of the words that sequences can hold, int [words]; by default the whole
            vocabulary.
        epsilon: added to the variance of the embeddings.
        look_up: false to compute the first layer's projections in float32, too.
    """

    def __init__(
        self,
        backbone: BertBackbone,
        dtype: str,
        words: np.ndarray | None = None,
        epsilon: float = 1e-12,
        look_up: bool = True,
    ):
        self.embeddings: EmbeddingSums | None = None
        self.first_layer: FirstLayer | None = None
        self.head_groups = _head_groups(backbone.num_heads, backbone.max_sequence_length)
        self.constants = Constants()
        self._kernels: dict[int, np.ndarray] = {}
        self._joined: dict[tuple[int, ...], np.ndarray] = {}
        layers = backbone.transformer_layers
        if backbone.patch_embedding is None:
            self.embeddings = EmbeddingSums(backbone, self.constants, words)
            if look_up and dtype == "float32" and len(layers) > 1:
                rows = self.embeddings.rows
                self.first_layer = FirstLayer(backbone, self.constants, rows, epsilon)
        # In float32, TensorFlow fuses the product of attention with scale and bias, not with one.
        size = backbone.hidden_dim // backbone.num_heads
        self._scale = size**-0.5 if dtype == "bfloat16" else 1.0
        self._queries = {id(layer._self_attention_layer.query_dense) for layer in layers}
        dense = [layer for block in layers for layer in _dense_layers(block)]
        number = sum(layer.count_params() for layer in dense)
        if number <= {"float32": SMALL_NUMBER, "bfloat16": MOST_NUMBER}.get(dtype, 0):
            for layer in dense:
                kernel = ops.cast(_matrix(layer)[0] * self._factor(layer), dtype)
                self._kernels[id(layer)] = ops.convert_to_numpy(kernel)

    @property
    def constant(self) -> bool:
        """True if kernels are constants."""
        return bool(self._kernels)

    @property
    def scaled(self) -> bool:
        """True if kernel and bias of queries include the scale 1 / sqrt(size) of the scores."""
        return self.constant and self._scale != 1

    def kernel(self, dense: Sequence[keras.layers.Layer]) -> Tensor:
        """The constant kernels [inputs, outputs] of dense layers side by side."""
        key = tuple(map(id, dense))
        if len(key) == 1:
            return self.constants(self._kernels[key[0]])
        if key not in self._joined:
            self._joined[key] = np.concatenate([self._kernels[one] for one in key], axis=1)
        return self.constants(self._joined[key])

    def bias(self, layer: keras.layers.Layer) -> Tensor:
        """The bias [outputs] of a dense layer, a variable.

        TensorFlow would remove a constant one of zeros, and with it the fusion of the operations.
        """
        bias = _matrix(layer)[1]
        factor = self._factor(layer)
        return bias * factor if factor != 1 else bias

    def _factor(self, layer: keras.layers.Layer) -> float:
        return self._scale if id(layer) in self._queries else 1.0


class Constants:
    """Arrays as constants of the graph that is being traced."""

    def __init__(self) -> None:
        self._scope: Callable[[], AbstractContextManager] | None = None
        self._tensors: dict[int, Tensor] = {}

    def __call__(self, array: np.ndarray) -> Tensor:
        """Converts an array that outlives this object."""
        if self._scope is None:
            return ops.convert_to_tensor(array)
        if id(array) not in self._tensors:
            with self._scope():
                self._tensors[id(array)] = ops.convert_to_tensor(array)
        return self._tensors[id(array)]

    @contextlib.contextmanager
    def shared(self, scope: Callable[[], AbstractContextManager]) -> Iterator[None]:
        """Within this context, an array is one constant of the graph that `scope` makes current.

        A graph and the functions that it calls hold an array once then, not once each.
        """
        self._scope, self._tensors = scope, {}
        try:
            yield
        finally:
            self._scope, self._tensors = None, {}


class EmbeddingSums:
    """A table with the sum of a word's and a segment's embedding for each pair of them.

    Args: as `FixedWeights`, and its `constants`.
    """

    def __init__(
        self, backbone: BertBackbone, constants: Constants, words: np.ndarray | None = None
    ):
        self._constants = constants
        embeddings = _array(backbone.token_embedding.embeddings)
        segments = _array(backbone.segment_embedding.embeddings)
        self._rows: np.ndarray | None = None  # of the words in the table
        if words is not None:
            self._rows = np.zeros(len(embeddings), np.int32)
            self._rows[words] = np.arange(len(words))
            embeddings = embeddings[words]
        self._num_words = len(embeddings)
        # A block of rows per segment: [segments * words, hidden], float64.
        self.rows = (segments[:, None, :] + embeddings).reshape(-1, embeddings.shape[-1])
        self._table = self.rows.astype(np.float32)

    def indices(self, token_ids: Tensor, segment_ids: Tensor) -> Tensor:
        """Rows of the table for words and segments, int32 of their shape."""
        if self._rows is not None:
            token_ids = ops.take(self._constants(self._rows), token_ids, axis=0)
        return token_ids + segment_ids * self._num_words

    def __call__(self, indices: Tensor) -> Tensor:
        """Looks up rows: float32 [*indices.shape, hidden]."""
        return ops.take(self._constants(self._table), indices, axis=0)


class FirstLayer:
    """The first layer's queries, keys and values as sums of table rows, in float32.

    With t the sum of word and segment and p the position, the embeddings' normalization of t + p is
    gamma (t' + p') / sigma + beta, where ' subtracts a vector's mean. A projection W of it is
    (t' gamma W + p' gamma W) / sigma + beta W. The sums in parentheses are rows of two tables,
    1 / sigma is a number of a third, and the look-up replaces the product of
    [batch * length, hidden] and [hidden, 3 hidden].

    Args:
        backbone: as for `FixedWeights`.
        constants: of `FixedWeights`.
        sums: the sums t, float64 [rows, hidden].
        epsilon: added to the variance of t + p.
    """

    def __init__(
        self, backbone: BertBackbone, constants: Constants, sums: np.ndarray, epsilon: float
    ):
        self._constants = constants
        norm = backbone.embeddings_layer_norm
        attention = backbone.transformer_layers[0]._self_attention_layer
        dense = [getattr(attention, f"{name}_dense") for name in PROJECTIONS]
        kernels, biases = zip(*(map(_array, _matrix(layer)) for layer in dense), strict=True)
        kernel = np.concatenate(kernels, axis=1)
        scaled = _array(norm.gamma)[:, None] * kernel
        sums = _centered(sums)
        positions = _centered(_array(backbone.position_embedding.position_embeddings))
        self._words = (sums @ scaled).astype(np.float32)
        self._positions = (positions @ scaled).astype(np.float32)
        shift = _array(norm.beta) @ kernel + np.concatenate(biases)
        self._shift = shift.astype(np.float32)
        squares = np.square(sums).sum(-1)[:, None] + np.square(positions).sum(-1)
        variance = (squares + 2 * sums @ positions.T) / sums.shape[-1]
        self._num_positions = len(positions)
        factors = (variance + epsilon) ** -0.5  # [rows, positions]
        self._factors = factors.astype(np.float32).ravel()

    @property
    def num_bytes(self) -> int:
        """Size of the tables."""
        return self._words.nbytes + self._positions.nbytes + self._factors.nbytes

    def __call__(self, indices: Tensor) -> Tensor:
        """Looks up the projections of tokens.

        Args:
            indices: rows of the sums, int32 [batch, length].

        Returns:
            queries, keys and values, float32 [batch * length, 3 * hidden].
        """
        length = indices.shape[1]
        x = ops.take(self._constants(self._words), indices, axis=0)
        x = x + self._constants(self._positions)[:length]
        x = ops.reshape(x, (-1, x.shape[-1]))
        pairs = indices * self._num_positions + ops.arange(length, dtype="int32")
        factors = ops.take(self._constants(self._factors), pairs, axis=0)
        return ops.add(x * ops.reshape(factors, (-1, 1)), self._constants(self._shift))


def _head_groups(num_heads: int, length: int) -> int:
    """The smallest number of groups whose scores of one image are at most `SCORES`."""
    divisors = (n for n in range(1, num_heads + 1) if num_heads % n == 0)
    return next((n for n in divisors if num_heads // n * length**2 <= SCORES), num_heads)


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
