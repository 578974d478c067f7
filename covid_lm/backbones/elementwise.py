"""Normalization and GELU as training computes them: one pass forward and one backward.

Op by op, their gradients would take longer than the matrix products of a small encoder in bfloat16.
TensorFlow compiles each of the passes below with XLA; JAX compiles everything.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

Tensor = Any  # the backends of Keras share no type


def gelu(x):
    """Computes the exact GELU, x * P(X <= x) for a standard normal X (Hendrycks & Gimpel 2016).

    Uses erf, because TensorFlow can't fuse Keras' form with erfc with the matmul before it. LiteRT
    recognizes only this order of the factors; it has no erf.
    """
    return x * 0.5 * (ops.erf(x * 0.5**0.5) + 1)


def normalize(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float) -> Tensor:
    """Normalizes the last axis with float32 statistics; returns x's dtype."""
    dtype = x.dtype
    x = _standardize(ops.cast(x, "float32"), epsilon)[0]
    x = ops.add(x * ops.cast(gamma, "float32"), ops.cast(beta, "float32"))
    return ops.cast(x, dtype)


def normalize_fused(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float) -> Tensor:
    """As `normalize`, for x of two or three axes, in a form that oneDNN computes in one pass.

    TensorFlow's graph optimizer replaces a batch normalization without scale, whose channels are
    the rows of x, by oneDNN's layer normalization, if it doesn't know their number. Without oneDNN,
    the operations give the same numbers.
    """
    if keras.backend.backend() != "tensorflow":
        return normalize(x, gamma, beta, epsilon)
    import tensorflow as tf

    rows, nothing = tf.size(x) // x.shape[-1], tf.zeros([0])
    standard = tf.raw_ops.FusedBatchNormV3(
        x=tf.reshape(x, [1, rows, x.shape[-1], 1]),
        scale=tf.fill([rows], 1.0),
        offset=tf.fill([rows], 0.0),
        mean=nothing,
        variance=nothing,
        epsilon=epsilon,
        data_format="NCHW",
        is_training=True,
    )[0]
    return tf.reshape(standard, tf.shape(x)) * tf.cast(gamma, x.dtype) + tf.cast(beta, x.dtype)


def reshape_like(x: Tensor, other: Tensor) -> Tensor:
    """Reshapes x to the shape of the other.

    TensorFlow fuses a product with a sum only if it knows that the shapes of both terms are equal,
    which it derives from the operation `Shape`, not from sizes as `ops.shape` returns them.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.reshape(x, ops.shape(other))
    import tensorflow as tf

    return tf.reshape(x, tf.shape(other))


def gelu_in_training(x: Tensor) -> Tensor:
    """As `gelu`, in float32 inside, with its derivative kept for the gradient instead of x."""

    @ops.custom_gradient
    def compute(x):
        y, derivative = _compiled(_gelu_and_derivative)(x)

        def gradient(*arguments, upstream=None):
            return _upstream(arguments, upstream) * derivative

        return y, gradient

    return compute(x)


def normalize_in_training(x: Tensor, gamma: Tensor, beta: Tensor, epsilon: float) -> Tensor:
    """As `normalize`; of the tensors between, none is kept for the gradient."""

    @ops.custom_gradient
    def compute(x, gamma, beta):
        def gradient(*arguments, upstream=None):
            upstream = _upstream(arguments, upstream)
            return _compiled(_normalize_gradient)(x, gamma, upstream, epsilon)

        return _compiled(normalize)(x, gamma, beta, epsilon), gradient

    # As tensors: TensorFlow's explicit gradients don't take variables.
    return compute(x, ops.copy(gamma), ops.copy(beta))


def _gelu_and_derivative(x):
    """Both of x's dtype; the derivative is P(X <= x) + x p(x) with the normal density p."""
    x32 = ops.cast(x, "float32")
    below = (ops.erf(x32 * 0.5**0.5) + 1) * 0.5
    density = ops.exp(ops.square(x32) * -0.5) * (2 * math.pi) ** -0.5
    return ops.cast(x32 * below, x.dtype), ops.cast(below + x32 * density, x.dtype)


def _standardize(x, epsilon):
    """Returns x with mean 0 and variance 1 in the last axis, and the factor that made it so."""
    centered = x - ops.mean(x, axis=-1, keepdims=True)
    factor = ops.rsqrt(ops.mean(ops.square(centered), axis=-1, keepdims=True) + epsilon)
    return centered * factor, factor


def _normalize_gradient(x, gamma, upstream, epsilon):
    """Gradients of `normalize` for x [rows, n], gamma and beta (Ba et al. 2016)."""
    upstream = ops.cast(upstream, "float32")
    standard, factor = _standardize(ops.cast(x, "float32"), epsilon)
    d_standard = upstream * ops.cast(gamma, "float32")
    mean = ops.mean(d_standard, axis=-1, keepdims=True)
    along = ops.mean(d_standard * standard, axis=-1, keepdims=True)
    d_x = factor * (d_standard - mean - standard * along)
    d_gamma, d_beta = ops.sum(upstream * standard, axis=0), ops.sum(upstream, axis=0)
    return ops.cast(d_x, x.dtype), ops.cast(d_gamma, gamma.dtype), ops.cast(d_beta, gamma.dtype)


def _upstream(arguments: tuple, upstream: Tensor | None) -> Tensor:
    """The gradient that a backend passes by position or by name."""
    return arguments[0] if upstream is None else upstream


@functools.cache
def _compiled(function: Callable) -> Callable:
    """The function, compiled where the backend would run it op by op."""
    if keras.backend.backend() != "tensorflow":
        return function
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)


ACTIVATIONS = {
    "gelu": gelu,
    "gelu_approximate": lambda x: keras.activations.gelu(x, approximate=True),
    "relu": keras.activations.relu,
}
