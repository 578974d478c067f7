"""Training images that the input pipeline augments and tokenizes in every epoch."""

import dataclasses
import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from covid_lm.layers.augmentation import Augmentation
from covid_lm.layers.image_input import ImageInput
from covid_lm.layers.random_operations import ImageMixing
from covid_lm.models.pixel_classifier import PixelPreprocessor
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.pipeline.decoded import Decode, DecodedRecords
from covid_lm.pipeline.tokenized import epoch_order, mapped_batches, steps_per_epoch
from covid_lm.protocols import AUGMENTATIONS

# Images with sides of up to this many pixels are decoded at three times their size for the
# augmentation, so that crops move in steps of a third of an output pixel; others at 1.25 times.
_SMALL_SIDE = 32


@dataclasses.dataclass(frozen=True)
class AugmentedRecords:
    """A training split in memory, as a `BatchSource`.

    The changes of an image follow from the seed, the epoch and the image's index alone; those of
    random operations and of mixing from the other images of the batch, too. So an epoch can be
    repeated or resumed bit for bit.

    Attributes:
        images: decoded, by `working_image_input` if the augmentation crops.
        augmentation: changes the pixels; None for no change.
        mixing: mixes images and labels; None to keep them.
    """

    images: DecodedRecords
    preprocessor: Preprocessor | PixelPreprocessor
    augmentation: Augmentation | None = None
    mixing: ImageMixing | None = None

    def steps(self, batch_size: int) -> int:
        """Number of batches in an epoch."""
        return steps_per_epoch(len(self.images.records), batch_size)

    def epoch(self, batch_size: int, seed: int, epoch: int, first_step: int = 0) -> tf.data.Dataset:
        """Batches of (inputs, labels), as `TokenizedRecords.epoch`; after mixing, labels are the
        probability of each class, float32 [batch, classes].
        """
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
            batch, batch_labels = tf.gather(pixels, rows), tf.gather(labels, rows)
            if self.augmentation is not None:
                batch = self.augmentation(batch, seeds)
            if self.mixing is not None:
                batch, batch_labels = self.mixing(batch, batch_labels, seeds[0])
            inputs = self.preprocessor.tokenize(batch, tf.gather(filenames, rows))
            return inputs, batch_labels

        return tf.function(prepare, autograph=False)


def named_augmentation(name: str, image_input: ImageInput) -> Augmentation | None:
    """The augmentation of `--augment` for images of a preprocessor; None for "none"."""
    arguments = AUGMENTATIONS.get(name)
    return None if arguments is None else Augmentation(image_input.image_size, **arguments)


def training_decode(name: str, preprocessor: Preprocessor | PixelPreprocessor) -> Decode:
    """Decodes images for `--augment`: larger than the tokens need, if they are to be cropped."""
    if "smallest_crop" not in AUGMENTATIONS.get(name, {}):
        return preprocessor.decode
    return working_image_input(preprocessor.image_input)


def working_image_input(image_input: ImageInput) -> ImageInput:
    """An `ImageInput` with more pixels, for augmentation: 3 or 1.25 times the side."""
    height, width = (
        3 * side if side <= _SMALL_SIDE else max(3 * _SMALL_SIDE, side * 5 // 4)
        for side in image_input.image_size
    )
    return ImageInput((height, width), image_input.color, image_input.max_pixels)
