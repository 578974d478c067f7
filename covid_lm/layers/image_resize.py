"""The one resize of the project: bilinear, antialiased, rounded half to even, clipped to 0..255."""

import tensorflow as tf


def resize(pixels: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Resizes one picture without keeping its aspect ratio.

    What tf.image.resize(antialias=True) runs, without its float copy of the whole picture.

    Args:
        pixels: uint8 [any height, any width, channels].
        size: height and width to resize to.

    Returns:
        uint8 [*size, channels].
    """
    resized = tf.raw_ops.ScaleAndTranslate(
        images=pixels[None],
        size=size,
        scale=tf.constant(size, tf.float32) / tf.cast(tf.shape(pixels)[:2], tf.float32),
        translation=tf.zeros([2]),
        kernel_type="triangle",
        antialias=True,
    )[0]  # [height, width, channels]
    return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)
