"""Random changes of training images, each determined by its own seed."""

from typing import Any

import keras
import tensorflow as tf

from covid_lm.layers.image_decode import resize
from covid_lm.layers.token_masking import GENERATOR


@keras.saving.register_keras_serializable("covid_lm")
class Augmentation(keras.layers.Layer):
    """Crops, flips and changes the contrast and brightness of each image independently.

    The crop has whole pixels and the image's aspect ratio, and is resized as in `ImageInput`
    (Szegedy et al. 2015, without the change of aspect ratio). Half of the images are flipped left
    to right. A value v becomes `v * (1 + contrast * a) + 255 * brightness * b`, rounded and
    clipped, with one a and one b per image, uniform in [-1, 1].

    Args:
        image_size: height and width of the output (`ImageInput.image_size`).
        smallest_crop: smallest side of a crop as a share of the image's, above 0 and at most 1.
        flip: whether to flip half of the images.
        contrast, brightness: as above, 0 to 1.

    Raises:
        ValueError: arguments out of range.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        smallest_crop: float = 1.0,
        flip: bool = False,
        contrast: float = 0.0,
        brightness: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 < smallest_crop <= 1:
            raise ValueError(f"smallest_crop must be above 0 and at most 1, got {smallest_crop}")
        if not (0 <= contrast <= 1 and 0 <= brightness <= 1):
            raise ValueError(f"contrast and brightness: 0 to 1, got {contrast} and {brightness}")
        self.image_size = image_size
        self.smallest_crop = smallest_crop
        self.flip = flip
        self.contrast = contrast
        self.brightness = brightness

    def call(self, pixels: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        """Changes a batch.

        Args:
            pixels: uint8 [batch, height, width, channels], static except for the batch.
            seeds: int32 [batch, 2]; the same seed and pixels give the same image.

        Returns:
            uint8 [batch, *image_size, channels].
        """
        return tf.map_fn(
            lambda image: self._change(*image),
            (pixels, seeds),
            fn_output_signature=tf.TensorSpec([*self.image_size, pixels.shape[-1]], tf.uint8),
        )

    def _change(self, pixels: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        draws = tf.unstack(tf.random.stateless_uniform([6], seed, alg=GENERATOR))
        share, top, left, flip, contrast, brightness = draws
        if self.flip:
            pixels = tf.where(flip < 0.5, tf.reverse(pixels, axis=[1]), pixels)
        share = self.smallest_crop + (1 - self.smallest_crop) * share
        sides = tf.constant(tuple(pixels.shape[:2]), tf.float32)
        kept = tf.maximum(tf.round(share * sides), 1.0)
        first = tf.floor(tf.stack([top, left]) * (sides - kept + 1))
        (y, x), (height, width) = (tf.unstack(tf.cast(t, tf.int32)) for t in (first, kept))
        image = resize(pixels[y : y + height, x : x + width], self.image_size)
        scale = 1 + self.contrast * (2 * contrast - 1)
        shift = 255 * self.brightness * (2 * brightness - 1)
        values = tf.round(tf.cast(image, tf.float32) * scale + shift)
        return tf.cast(tf.clip_by_value(values, 0.0, 255.0), tf.uint8)
