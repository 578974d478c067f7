"""Random changes of training images, each determined by its own seed."""

from typing import Any

import keras
import tensorflow as tf

from covid_lm.layers.random_operations import RandomOperations, to_bytes
from covid_lm.layers.tensorflow_layer import TensorFlowLayer
from covid_lm.layers.token_masking import GENERATOR


@keras.saving.register_keras_serializable("covid_lm")
class Augmentation(TensorFlowLayer):
    """Crops, shifts, flips and changes the contrast and brightness of each image independently.

    The crop has whole pixels and the image's aspect ratio, and is resized as in `ImageInput`
    (Szegedy et al. 2015, without the change of aspect ratio). A shift moves the crop beyond the
    image, where it is black. Half of the images are flipped left to right. A value v becomes
    `v * (1 + contrast * a) + 255 * brightness * b`, with one a and one b per image, uniform in
    [-1, 1]. `RandomOperations` follow. Values are rounded and clipped.

    Args:
        image_size: height and width of the output (`ImageInput.image_size`).
        smallest_crop: smallest side of a crop as a share of the image's, above 0 and at most 1.
        shift: largest shift as a share of the image's side, 0 to 1.
        flip: whether to flip half of the images.
        contrast, brightness: as above, 0 to 1.
        operations, erasing: magnitude and share of erased images of `RandomOperations`, 0 to 1.

    Raises:
        ValueError: arguments out of range.
    """

    def __init__(
        self,
        image_size: tuple[int, int],
        smallest_crop: float = 1.0,
        shift: float = 0.0,
        flip: bool = False,
        contrast: float = 0.0,
        brightness: float = 0.0,
        operations: float = 0.0,
        erasing: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not 0 < smallest_crop <= 1:
            raise ValueError(f"smallest_crop must be above 0 and at most 1, got {smallest_crop}")
        self.changes = {"shift": shift, "contrast": contrast, "brightness": brightness}
        self.changes |= {"operations": operations, "erasing": erasing}
        for name, value in self.changes.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {value}")
        self.image_size = image_size
        self.smallest_crop = smallest_crop
        self.flip = flip
        self.operations = RandomOperations(operations, erasing)

    def call(self, pixels: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        """Changes a batch.

        Args:
            pixels: uint8 [batch, height, width, channels], static except for the batch.
            seeds: int32 [batch, 2]; the same seed and pixels give the same image. Operations and
                erasing follow from the first seed and the number of images.

        Returns:
            uint8 [batch, *image_size, channels].
        """
        draws = tf.map_fn(
            lambda seed: tf.random.stateless_uniform([8], seed, alg=GENERATOR),
            seeds,
            fn_output_signature=tf.TensorSpec([8], tf.float32),
        )
        size, top, left, flip, contrast, brightness, down, right = tf.unstack(draws, axis=1)
        size = self.smallest_crop + (1 - self.smallest_crop) * size
        flipped = flip < 0.5 if self.flip else tf.zeros_like(flip, tf.bool)
        rows = self._resampling(pixels.shape[1], 0, size, top, down, tf.zeros_like(flipped))
        columns = self._resampling(pixels.shape[2], 1, size, left, right, flipped)
        values = resample(tf.cast(pixels, tf.float32), rows, columns)
        scale = 1 + self.changes["contrast"] * (2 * contrast - 1)
        offset = 255 * self.changes["brightness"] * (2 * brightness - 1)
        values = values * scale[:, None, None, None] + offset[:, None, None, None]
        if self.changes["operations"] or self.changes["erasing"]:
            values = self.operations(tf.cast(to_bytes(values), tf.float32), seeds[0])
        return to_bytes(values)

    def _resampling(
        self,
        side: int,
        axis: int,
        share: tf.Tensor,
        position: tf.Tensor,
        shift: tf.Tensor,
        flipped: tf.Tensor,
    ) -> tf.Tensor:
        """`resampling` of one axis, from uniform numbers in [0, 1), float32 [batch]."""
        kept = tf.maximum(tf.round(share * side), 1.0)
        most = round(self.changes["shift"] * side)
        first = tf.floor(position * (side - kept + 1)) + tf.floor(shift * (2 * most + 1)) - most
        return resampling(side, self.image_size[axis], first, kept, flipped)

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "image_size": self.image_size,
            "smallest_crop": self.smallest_crop,
            "flip": self.flip,
            **self.changes,
        }


def resampling(
    side: int, new_side: int, first: tf.Tensor, kept: tf.Tensor, flipped: tf.Tensor
) -> tf.Tensor:
    """Weights with which the pixels of one axis enter those of a resized crop.

    The weights are those of `image_decode.resize`, which needs a call for each image. A pixel
    without any weight, beyond the image, is 0.

    Args:
        side, new_side: pixels of the image and of the resized crop.
        first, kept: first pixel and number of pixels of the crop, float32 [batch], whole numbers.
        flipped: bool [batch], to reverse the crop.

    Returns:
        float32 [batch, new_side, side].
    """
    step = kept / new_side
    place = tf.range(new_side, dtype=tf.float32) + 0.5
    place = tf.where(flipped[:, None], new_side - place, place)  # [batch, new_side]
    center = (first[:, None] + place * step[:, None])[:, :, None]
    pixel = tf.range(side, dtype=tf.float32) + 0.5
    width = tf.maximum(step, 1.0)[:, None, None]
    weights = tf.maximum(1 - tf.abs(pixel - center) / width, 0.0)
    first, kept = first[:, None], kept[:, None]
    inside = (pixel > first) & (pixel < first + kept)  # [batch, side]
    weights *= tf.cast(inside, tf.float32)[:, None]
    return tf.math.divide_no_nan(weights, tf.reduce_sum(weights, -1, keepdims=True))


def resample(values: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor) -> tf.Tensor:
    """Weighted sums of rows, then of columns.

    Args:
        values: float32 [batch, height, width, channels].
        rows, columns: float32 [batch, new height, height] and [batch, new width, width].

    Returns:
        float32 [batch, new height, new width, channels].
    """
    _, height, width, channels = values.shape
    new_height, new_width = rows.shape[1], columns.shape[1]
    values = rows @ tf.reshape(values, [-1, height, width * channels])
    values = tf.reshape(values, [-1, new_height, width, channels])
    values = columns @ tf.reshape(
        tf.transpose(values, [0, 2, 1, 3]), [-1, width, new_height * channels]
    )
    values = tf.reshape(values, [-1, new_width, new_height, channels])
    return tf.transpose(values, [0, 2, 1, 3])
