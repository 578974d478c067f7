"""Training images that the input pipeline augments and tokenizes in every epoch."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from covid_lm.layers.augmentation import Augmentation
from covid_lm.layers.image_input import ImageInput
from covid_lm.models.pixel_classifier import PixelPreprocessor
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.pipeline.decoded import DecodedRecords
from covid_lm.pipeline.tokenized import epoch_order, mapped_batches, steps_per_epoch

# Images with sides of up to this many pixels are decoded at three times their size for the
# augmentation, so that crops move in steps of a third of an output pixel; others at 1.25 times.
_SMALL_SIDE = 32


@dataclasses.dataclass(frozen=True)
class AugmentedRecords:
    """A training split in memory, as a `BatchSource`.

    The changes of an image follow from the seed, the epoch and the image's index alone, so that an
    epoch can be repeated or resumed bit for bit.

    Attributes:
        images: decoded, by `working_image_input` if there is an augmentation.
        augmentation: changes the pixels; None for no change.
    """

    images: DecodedRecords
    preprocessor: Preprocessor | PixelPreprocessor
    augmentation: Augmentation | None = None

    def steps(self, batch_size: int) -> int:
        """Number of batches in an epoch."""
        return steps_per_epoch(len(self.images.records), batch_size)

    def epoch(self, batch_size: int, seed: int, epoch: int, first_step: int = 0) -> tf.data.Dataset:
        """Batches of (inputs, labels), as `TokenizedRecords.epoch`."""
        count = len(self.images.records)
        order = epoch_order(count, batch_size, seed, epoch)[first_step:]
        generator = np.random.default_rng([seed, epoch, 1])
        seeds = generator.integers(2**31, size=(count, 2), dtype=np.int32)
        return mapped_batches((order, seeds[order]), self._prepare)

    @functools.cached_property
    def _prepare(self) -> Callable:
        """A function from rows [batch] and seeds [batch, 2] to inputs and labels; traced once."""
        with tf.device("CPU"):
            pixels = tf.constant(self.images.pixels)
            filenames, labels = tf.constant(self.images.filenames), tf.constant(self.images.labels)

        def prepare(rows: tf.Tensor, seeds: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            batch = tf.gather(pixels, rows)
            if self.augmentation is not None:
                batch = self.augmentation(batch, seeds)
            inputs = self.preprocessor.tokenize(batch, tf.gather(filenames, rows))
            return inputs, tf.gather(labels, rows)

        return tf.function(prepare, autograph=False)


def working_image_input(image_input: ImageInput) -> ImageInput:
    """An `ImageInput` with more pixels, for augmentation: 3 or 1.25 times the side."""
    height, width = (
        3 * side if side <= _SMALL_SIDE else max(3 * _SMALL_SIDE, side * 5 // 4)
        for side in image_input.image_size
    )
    return ImageInput((height, width), image_input.color, image_input.max_pixels)
