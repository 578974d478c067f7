"""Scaled dot-product attention with few passes over the scores.

The scores of one layer at 512 tokens, 12 heads and batch size 8 are 25 million numbers. On a CPU,
one pass over them takes as long as a tenth of a dense layer.
"""

from typing import Any

import keras
from keras import ops

from covid_lm.backbones.elementwise import drop
from covid_lm.backbones.training_passes import compiled, upstream_of

Tensor = Any  # the backends of Keras share no type
MASKED = -1e9
BIAS_COLUMNS = 8  # 16 bytes in bfloat16: rows of queries and keys stay aligned


def mask_bias(padding_mask: Tensor, dtype: str) -> Tensor:
    """Returns the bias of the scores, [batch, length], 0 for a token and -1e9 for padding.

    Args:
        padding_mask: [batch, length], 1 for a token and 0 for padding.
        dtype: float type with the exponent range of float32.
    """
    return (1 - ops.cast(padding_mask, dtype)) * MASKED


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


def attention_in_training(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor, rate: float, seed: Tensor | None
) -> Tensor:
    """Computes attention with dropout of its probabilities at `rate`, for training.

    The gradient is explicit: with output O and its gradient dO, the softmax's gradient is
    P * (dP - rowsum(dO * O)) (Dao et al. 2022, appendix B.2, equation 4). The row sums need only
    [length, size] numbers, and of the large tensors only P is kept.

    Args:
        seed: of the dropout, int32 [2]; None for none.

    Other arguments and returns: as `attention`; the scale is 1 / sqrt(size).
    """
    scale = query.shape[-1] ** -0.5

    @ops.custom_gradient
    def attend(query, key, value):
        p = probabilities(query, key, bias, scale)
        dropped = p if seed is None else compiled(drop)(p, rate, seed)
        output = ops.matmul(dropped, value)

        def gradient(*arguments, upstream=None):
            upstream = upstream_of(arguments, upstream)
            d_p = ops.matmul(upstream, ops.transpose(value, (0, 1, 3, 2)))
            tensors = (p, d_p, output, upstream, scale, rate, seed)
            d_scores, dropped = compiled(_scores_gradient)(*tensors)
            d_query = ops.matmul(d_scores, key)
            d_key = ops.matmul(ops.transpose(d_scores, (0, 1, 3, 2)), query)
            d_value = ops.matmul(ops.transpose(dropped, (0, 1, 3, 2)), upstream)
            return d_query, d_key, d_value

        return output, gradient

    return attend(query, key, value)


def _scores_gradient(p, d_p, output, upstream, scale, rate, seed):
    """Returns the scaled gradient of the scores, and the probabilities after dropout."""
    product = ops.cast(upstream, "float32") * ops.cast(output, "float32")
    row_sums = ops.sum(product, axis=-1, keepdims=True)
    d_p, dropped = ops.cast(d_p, "float32"), p
    if seed is not None:
        d_p, dropped = drop(d_p, rate, seed), drop(p, rate, seed)
    return ops.cast(ops.cast(p, "float32") * (d_p - row_sums) * scale, p.dtype), dropped
