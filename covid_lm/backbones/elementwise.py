"""Activations, normalization and dropout.

Activations and normalization have forms that TensorFlow fuses, the former with the product before.
"""

import functools
import operator
from collections.abc import Sequence
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
    x = standardize(ops.cast(x, "float32"), epsilon)[0]
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


def standardize(x, epsilon):
    """Returns x with mean 0 and variance 1 in the last axis, and the factor that made it so."""
    centered = x - ops.mean(x, axis=-1, keepdims=True)
    factor = ops.rsqrt(ops.mean(ops.square(centered), axis=-1, keepdims=True) + epsilon)
    return centered * factor, factor


def keep_mask(shape: Sequence, rate: float, seed: Tensor) -> Tensor:
    """Draws booleans, true with probability 1 - rate.

    Each is a hash of its index and the seed, which takes a fraction of the time of TensorFlow's
    generators and is the same on every backend.

    Args:
        shape: shape of the result.
        rate: probability of false, below 1.
        seed: int32 [2], as from `draw_seed`.

    Returns:
        bool tensor of the given shape.
    """
    key = _hash(_hash(seed[0]) + seed[1])
    index = ops.arange(functools.reduce(operator.mul, shape, 1), dtype="int32")
    # The factor is odd, so that indices stay different.
    bits = _hash(index * ops.bitwise_or(_hash(key + 1), 1) + key)
    return ops.reshape(bits >= round(rate * 2**32) - 2**31, shape)


def _hash(x):
    """Maps int32 one to one to int32 without visible order (Wellons 2018, lowbias32)."""
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B - 2**32), (16, 1)):
        # Of a negative number, `right_shift` repeats the sign.
        shifted = ops.bitwise_and(ops.right_shift(x, shift), 2 ** (32 - shift) - 1)
        x = ops.bitwise_xor(x, shifted) * factor
    return x


def draw_seed(generator: keras.random.SeedGenerator) -> Tensor:
    """Returns the generator's next seed, int32 [2]."""
    return ops.cast(generator.next(), "int32")


def drop(x: Tensor, rate: float, seed: Tensor) -> Tensor:
    """Zeroes each element with probability `rate` and divides the others by 1 - rate."""
    keep = keep_mask(ops.shape(x), rate, seed)
    return ops.where(keep, x * (1 / (1 - rate)), ops.zeros((), x.dtype))


def branch_factors(images: int, rows: int, rate: float, seed: Tensor) -> Tensor:
    """Draws the factors of a residual branch: 0 for some images, 1 / (1 - rate) for the others.

    Args:
        images: number of images.
        rows: of each image.
        rate: probability of 0 (stochastic depth, Huang et al. 2016).
        seed: as for `keep_mask`.

    Returns:
        float32 [images * rows, 1].
    """
    keep = ops.cast(keep_mask((images, 1), rate, seed), "float32") * (1 / (1 - rate))
    return ops.repeat(keep, rows, axis=0)


ACTIVATIONS = {
    "gelu": gelu,
    "gelu_approximate": lambda x: keras.activations.gelu(x, approximate=True),
    "relu": keras.activations.relu,
}
