"""Operations between the matrix products of training: one pass forward and one backward each.

Op by op, this would take longer than the products of a small encoder. TensorFlow compiles the
passes below with XLA; JAX compiles everything. Biases are added here, since TensorFlow's fusion of
a product with its bias, in training in bfloat16, takes several times as long as the product.
Dropout masks are functions of a seed and a position, so that none is kept for the gradient.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from covid_lm.backbones.elementwise import drop, normalize, reshape_like, standardize
from covid_lm.backbones.parallel_parts import two_parts

Tensor = Any  # the backends of Keras share no type


def dropout_in_training(x: Tensor, rate: float, seed: Tensor) -> Tensor:
    """As `drop`, with nothing kept for the gradient."""

    @ops.custom_gradient
    def compute(x):
        def gradient(*arguments, upstream=None):
            return compiled(drop)(upstream_of(arguments, upstream), rate, seed)

        return compiled(drop)(x, rate, seed), gradient

    return compute(x)


def look_up_in_training(table: Tensor, ids: Tensor) -> Tensor:
    """Looks up rows of a narrow table, [rows, width]: [..., width].

    TensorFlow's gradient of it adds row by row; counting takes a fifth to a third of the time.
    With several threads within an operation, a count's order, and so its last digits, would vary.
    """
    table = ops.copy(table)
    if not two_parts():
        return ops.take(table, ids, axis=0)
    rows, width = table.shape

    @ops.custom_gradient
    def compute(table):
        def gradient(*arguments, upstream=None):
            columns = ops.transpose(ops.reshape(upstream_of(arguments, upstream), (-1, width)))
            flat = ops.reshape(ids, (-1,))
            sums = [
                ops.reshape(ops.bincount(flat, weights=column, minlength=rows), (rows,))
                for column in ops.unstack(columns, width)
            ]
            return ops.stack(sums, axis=1)

        return ops.take(table, ids, axis=0), gradient

    return compute(table)


def activate_in_training(product: Tensor, bias: Tensor, name: str) -> Tensor:
    """Adds the bias and applies an activation, in float32 inside; the derivative is kept.

    Args:
        product: [rows, units].
        bias: [units].
        name: a key of `ACTIVATIONS`.
    """

    @ops.custom_gradient
    def compute(product, bias):
        y, derivative = compiled(_value_and_derivative)(product, bias, name)

        def gradient(*arguments, upstream=None):
            upstream = upstream_of(arguments, upstream)
            return compiled(_activation_gradient)(upstream, derivative)

        return y, gradient

    return compute(product, ops.copy(bias))


def split_in_training(product: Tensor, bias: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """Adds the bias and splits the units of each row into groups of heads.

    Args:
        product: [batch * length, units].
        bias: [units].
        shape: length, groups, heads of a group, and their size.

    Returns:
        [groups, batch, heads of a group, length, size].
    """

    @ops.custom_gradient
    def compute(product, bias):
        def gradient(*arguments, upstream=None):
            # Not compiled: oneDNN transposes faster.
            upstream = ops.transpose(upstream_of(arguments, upstream), (1, 3, 0, 2, 4))
            upstream = reshape_like(upstream, product)
            return upstream, ops.cast(ops.sum(ops.cast(upstream, "float32"), axis=0), bias.dtype)

        return compiled(_split)(product, bias, shape), gradient

    return compute(product, ops.copy(bias))


def normalize_sum_in_training(
    x: Tensor,
    product: Tensor,
    bias: Tensor,
    norm: keras.layers.Layer,
    epsilon: float,
    rate: float = 0.0,
    seed: Tensor | None = None,
    factors: Tensor | None = None,
) -> Tensor:
    """Normalizes x + factors * dropout(product + bias), the end of a residual branch.

    Args:
        x, product: [rows, n].
        bias: [n].
        norm: layer with gamma and beta, [n].
        epsilon: added to the variance.
        rate, seed: of the dropout, as for `keep_mask`; no seed for none.
        factors: of the branch for each row, float32 [rows, 1]; None for 1.

    Returns:
        as `normalize`. Of the tensors between, none is kept for the gradient.
    """

    @ops.custom_gradient
    def compute(x, product, bias, gamma, beta):
        inputs = (x, product, bias, gamma)

        def gradient(*arguments, upstream=None):
            upstream = upstream_of(arguments, upstream)
            return compiled(_sum_gradient)(upstream, *inputs, epsilon, rate, seed, factors)

        y = compiled(_normalized_sum)(*inputs, beta, epsilon, rate, seed, factors)
        return y, gradient

    # As tensors: TensorFlow's explicit gradients don't take variables.
    return compute(x, product, ops.copy(bias), ops.copy(norm.gamma), ops.copy(norm.beta))


def _value_and_derivative(product, bias, name):
    """Both of the product's dtype, and [rows, units]."""
    x = ops.cast(product, "float32") + ops.cast(bias, "float32")
    return tuple(ops.cast(y, product.dtype) for y in DERIVATIVES[name](x))


def _activation_gradient(upstream, derivative):
    """Gradients of a product, [rows, units], and of its bias, [units]."""
    d_product = ops.cast(upstream, "float32") * ops.cast(derivative, "float32")
    d_bias = ops.sum(d_product, axis=0)
    return ops.cast(d_product, derivative.dtype), ops.cast(d_bias, derivative.dtype)


def _gelu_and_derivative(x):
    """The derivative is P(X <= x) + x p(x) with the normal density p."""
    below = (ops.erf(x * 0.5**0.5) + 1) * 0.5
    density = ops.exp(ops.square(x) * -0.5) * (2 * math.pi) ** -0.5
    return x * below, below + x * density


def _approximate_gelu_and_derivative(x):
    """As Hendrycks & Gimpel (2016) with the hyperbolic tangent."""
    scale, cubic = (2 / math.pi) ** 0.5, 0.044715
    tangent = ops.tanh(scale * x * (1 + cubic * ops.square(x)))
    inner = scale * (1 + 3 * cubic * ops.square(x))
    derivative = 0.5 * (1 + tangent) + 0.5 * x * (1 - ops.square(tangent)) * inner
    return 0.5 * x * (1 + tangent), derivative


def _split(product, bias, shape):
    """See `split_in_training`."""
    x = ops.cast(product, "float32") + ops.cast(bias, "float32")
    x = ops.reshape(ops.cast(x, product.dtype), (-1, *shape))
    return ops.transpose(x, (2, 0, 3, 1, 4))


def _sum(x, product, bias, rate, seed, factors):
    """Returns x + factors * dropout(product + bias) in float32, [rows, n]."""
    y = ops.cast(product, "float32") + ops.cast(bias, "float32")
    return ops.cast(x, "float32") + _thin(y, rate, seed, factors)


def _thin(y, rate, seed, factors):
    """Drops elements of y, [rows, n], and multiplies its rows by the factors."""
    if seed is not None:
        y = drop(y, rate, seed)
    return y if factors is None else y * factors


def _normalized_sum(x, product, bias, gamma, beta, epsilon, rate, seed, factors):
    """See `normalize_sum_in_training`."""
    total = _sum(x, product, bias, rate, seed, factors)
    return ops.cast(normalize(total, gamma, beta, epsilon), x.dtype)


def _sum_gradient(upstream, x, product, bias, gamma, epsilon, rate, seed, factors):
    """Gradients of x, product, bias, gamma and beta."""
    total = _sum(x, product, bias, rate, seed, factors)
    d_total, d_gamma, d_beta = _normalize_gradient(total, gamma, upstream, epsilon)
    d_product = _thin(d_total, rate, seed, factors)
    d_bias = ops.cast(ops.sum(d_product, axis=0), bias.dtype)
    d_x, d_product = ops.cast(d_total, x.dtype), ops.cast(d_product, product.dtype)
    return d_x, d_product, d_bias, d_gamma, d_beta


def _normalize_gradient(x, gamma, upstream, epsilon):
    """Gradients of `normalize` for x [rows, n], gamma and beta (Ba et al. 2016)."""
    upstream = ops.cast(upstream, "float32")
    standard, factor = standardize(ops.cast(x, "float32"), epsilon)
    d_standard = upstream * ops.cast(gamma, "float32")
    mean = ops.mean(d_standard, axis=-1, keepdims=True)
    along = ops.mean(d_standard * standard, axis=-1, keepdims=True)
    d_x = factor * (d_standard - mean - standard * along)
    d_gamma, d_beta = ops.sum(upstream * standard, axis=0), ops.sum(upstream, axis=0)
    return ops.cast(d_x, x.dtype), ops.cast(d_gamma, gamma.dtype), ops.cast(d_beta, gamma.dtype)


def upstream_of(arguments: tuple, upstream: Tensor | None) -> Tensor:
    """The gradient that a backend passes by position or by name."""
    return arguments[0] if upstream is None else upstream


@functools.cache
def compiled(function: Callable) -> Callable:
    """The function, compiled where the backend would run it op by op."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)


# Value and derivative, both float32, of a float32 tensor.
DERIVATIVES: dict[str, Callable] = {
    "gelu": _gelu_and_derivative,
    "gelu_approximate": _approximate_gelu_and_derivative,
    "relu": lambda x: (ops.relu(x), ops.cast(x > 0, "float32")),
}
