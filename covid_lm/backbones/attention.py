"""Scaled dot-product attention and dropout with few passes over the scores.

The scores of one layer at 512 tokens, 12 heads and batch size 8 are 25 million numbers. On a CPU,
one pass over them takes as long as a tenth of a dense layer.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops, random

Tensor = Any  # the backends of Keras share no type
RANDOM_MINIMUM = -(2**31)
MASKED = -1e9
BIAS_COLUMNS = 8  # 16 bytes in bfloat16: rows of queries and keys stay aligned


def mask_bias(padding_mask: Tensor, dtype: str) -> Tensor:
    """Returns the bias of the scores, [batch, length], 0 for a token and -1e9 for padding.

    Args:
        padding_mask: [batch, length], 1 for a token and 0 for padding.
        dtype: float type with the exponent range of float32.
    """
    return (1 - ops.cast(padding_mask, dtype)) * MASKED


def keep_mask(shape: Sequence, rate: float, seed: Any) -> Tensor:
    """Draws booleans, true with probability 1 - rate.

    A draw uses 16 random bits instead of a float's 32: the upper halves of random integers for the
    first half of the last axis, the lower halves for the second. The rate is rounded to 2^-16.

    Args:
        shape: shape of the result; the last dimension is static.
        rate: probability of false, below 1.
        seed: a `keras.random.SeedGenerator`.

    Returns:
        bool tensor of the given shape.
    """
    *leading, length = shape
    threshold = round(rate * 2**16)
    half = (length + 1) // 2
    bits = random.randint((*leading, half), RANDOM_MINIMUM, 2**31 - 1, dtype="int32", seed=seed)
    upper = ops.greater_equal(bits, RANDOM_MINIMUM + threshold * 2**16)
    lower = ops.greater_equal(ops.bitwise_and(bits, 2**16 - 1), threshold)
    return ops.concatenate([upper, lower], axis=-1)[..., :length]


def dropout(x: Tensor, rate: float, seed: Any) -> Tensor:
    """Zeroes each element with probability `rate` and divides the others by 1 - rate."""
    keep = ops.cast(keep_mask(ops.shape(x), rate, seed), x.dtype)
    return x * keep * (1 / (1 - rate))


def drop_branch(y: Tensor, rows: int, rate: float, seed: Any) -> Tensor:
    """Zeroes all of an image's `rows` of y, [batch * rows, hidden], with probability `rate`."""
    y = ops.reshape(y, (-1, rows, y.shape[-1]))
    keep = keep_mask((ops.shape(y)[0], 1, 1), rate, seed)
    y = y * (ops.cast(keep, y.dtype) * (1 / (1 - rate)))
    return ops.reshape(y, (-1, y.shape[-1]))


def probabilities(query, key, bias, scale):
    """Computes softmax(scale Q K^T + bias).

    In bfloat16 the softmax needs no conversion to float32, which would be two more passes: oneDNN
    computes it in float32 internally, and the other compilers sum in float32.

    Args:
        query, key: [batch, heads, length, size].
        bias: see `mask_bias`.
        scale: 1 / sqrt(size), or 1 if the query is already multiplied by that.

    Returns:
        [batch, heads, length, length] of the query's dtype.
    """
    if keras.backend.standardize_dtype(query.dtype) == "bfloat16":
        # With AMX, oneDNN's product takes three times as long if it has to scale and add.
        query = query if scale == 1 else query * scale
        query, key = _with_bias_columns(query, key, bias)
        return ops.softmax(ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))), axis=-1)
    # Scale and bias directly follow the product, so that oneDNN fuses the three.
    scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2)))
    scores = scores if scale == 1 else scores * scale
    return ops.softmax(scores + bias[:, None, None, :], axis=-1)


def _with_bias_columns(query, key, bias):
    """Appends ones to the queries and shares of the bias to the keys: their product adds it."""
    columns = (*ops.shape(key)[:-1], BIAS_COLUMNS)
    shares = ops.broadcast_to((bias / BIAS_COLUMNS)[:, None, :, None], columns)
    query = ops.pad(query, ((0, 0), (0, 0), (0, 0), (0, BIAS_COLUMNS)), constant_values=1)
    return query, ops.concatenate([key, shares], axis=-1)


def attention(query, key, value, bias, scale):
    """Computes attention without dropout (Vaswani et al. 2017, equation 1).

    Args:
        query, key, value: [batch, heads, length, size].
        bias: [batch, length], added to the scores of each key.
        scale: see `probabilities`.

    Returns:
        [batch, heads, length, size].
    """
    return ops.matmul(probabilities(query, key, bias, scale), value)


def attention_with_dropout(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, rate: float, seed: Any
) -> Tensor:
    """Computes attention with dropout of its probabilities at `rate`, for training.

    The gradient is explicit: with output O and its gradient dO, the softmax's gradient is
    P * (dP - rowsum(dO * O)) (Dao et al. 2022, appendix B.2, equation 4). The row sums need only
    [length, size] numbers, and of the large tensors only P and a byte per draw are kept.

    Args and returns: as `attention`; the scale is 1 / sqrt(size).
    """
    scale = query.shape[-1] ** -0.5
    keep = None
    if rate:
        keep = keep_mask((*ops.shape(query)[:-1], key.shape[-2]), rate, seed)

    def drop(x):
        return x if keep is None else x * ops.cast(keep, x.dtype)

    @ops.custom_gradient
    def attend(query, key, value):
        value = value * (1 / (1 - rate))  # not applied to P, which is larger
        p = probabilities(query, key, bias, scale)
        output = ops.matmul(drop(p), value)

        def gradient(*arguments, upstream=None):
            if upstream is None:
                (upstream,) = arguments
            upstream32 = ops.cast(upstream, "float32")
            row_sums = ops.sum(upstream32 * ops.cast(output, "float32"), axis=-1, keepdims=True)
            d_p = drop(ops.matmul(upstream, ops.transpose(value, (0, 1, 3, 2))))
            d_scores = ops.cast(p, "float32") * (ops.cast(d_p, "float32") - row_sums)
            d_scores = ops.cast(d_scores, query.dtype)
            d_query = ops.matmul(d_scores, key) * scale
            d_key = ops.matmul(ops.transpose(d_scores, (0, 1, 3, 2)), query) * scale
            d_value = ops.matmul(ops.transpose(drop(p), (0, 1, 3, 2)), upstream)
            return d_query, d_key, d_value * (1 / (1 - rate))

        return output, gradient

    return attend(query, key, value)
