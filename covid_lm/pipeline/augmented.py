"""Images that the input pipeline reads, augments and tokenizes in every epoch."""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from covid_lm.layers.augmentation import Augmentation
from covid_lm.layers.image_input import ImageInput
from covid_lm.layers.random_operations import ImageMixing
from covid_lm.models.pixel_classifier import PixelPreprocessor
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.pipeline.decoded import DecodedRecords
from covid_lm.pipeline.tokenized import (
    Batches,
    TokenizedRecords,
    epoch_order,
    joined_epochs,
    mapped_batches,
)
from covid_lm.protocols import AUGMENTATIONS

# Images with sides of up to this many pixels are decoded at three times their size for the
# augmentation, so that crops move in steps of a third of an output pixel; others at 1.25 times.
_SMALL_SIDE = 32


# Pixels or tokens of at most so many bytes are kept in memory. Of more images, the pixels are read
# from the cache for each batch.
KEPT_BYTES = 2**28


@dataclasses.dataclass(frozen=True)
class AugmentedRecords(Batches):
    """A split that is tokenized batch by batch in every epoch, with or without random changes.

    The changes of an image follow from the seed, the epoch and the image's index alone; those of
    random operations and of mixing from the other images of the batch, too. So an epoch can be
    repeated or resumed bit for bit.

    Attributes:
        images: decoded, by `working_image_input` if the augmentation crops.
        augmentation: changes the pixels; None for no change.
        mixing: mixes images and labels; None to keep them.
        process_id, num_processes: see `Batches`; several only without changes.
    """

    images: DecodedRecords
    preprocessor: Preprocessor | PixelPreprocessor
    augmentation: Augmentation | None = None
    mixing: ImageMixing | None = None
    process_id: int = 0
    num_processes: int = 1

    @property
    def has_changes(self) -> bool:
        """True if images are changed at random."""
        return self.augmentation is not None or self.mixing is not None

    @functools.cached_property
    def labels(self) -> np.ndarray:  # type: ignore[override]
        """See `Batches`."""
        return self.images.labels

    def parts(self) -> Iterator[TokenizedRecords]:
        """See `Batches`; without random changes."""
        for chunk in self.images.chunks():
            yield chunk.tokenize(self.preprocessor)

    def epochs(
        self, batch_size: int, seed: int, epochs: range, first_step: int = 0
    ) -> tf.data.Dataset:
        """See `Batches`; after mixing, labels are the probability of each class, float32
        [batch, classes].
        """
        count = len(self.labels)

        def rows_and_seeds(epoch: int) -> tuple[np.ndarray, ...]:
            order = epoch_order(count, batch_size, seed, epoch)
            generator = np.random.default_rng([seed, epoch, 1])
            seeds = generator.integers(2**31, size=(count, 2), dtype=np.int32)
            return self.shares(order, seeds[order])

        return mapped_batches(joined_epochs(rows_and_seeds, epochs, first_step), self._prepare)

    @functools.cached_property
    def _read(self) -> Callable:
        """A function from rows [batch] to pixels, file names and labels."""
        images = self.images
        with tf.device("CPU"):
            filenames, labels = tf.constant(images.filenames), tf.constant(self.labels)
            kept = tf.constant(images.pixels[:]) if images.pixels.nbytes <= KEPT_BYTES else None

        def read(rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            if kept is not None:
                pixels = tf.gather(kept, rows)
            else:
                pixels = tf.numpy_function(lambda rows: images.pixels[rows], [rows], tf.uint8)
                pixels.set_shape([*rows.shape, *images.pixels.shape[1:]])
            return pixels, tf.gather(filenames, rows), tf.gather(labels, rows)

        return read

    @functools.cached_property
    def gather(self) -> Callable:  # type: ignore[override]
        """See `Batches`; without random changes."""
        read = self._read

        def gather(rows: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            pixels, filenames, labels = read(rows)
            return self.preprocessor.tokenize(pixels, filenames), labels

        return tf.function(gather, autograph=False)

    @functools.cached_property
    def _prepare(self) -> Callable:
        """A function from rows [batch] and seeds [batch, 2] to inputs and labels; traced once."""
        read = self._read

        def prepare(rows: tf.Tensor, seeds: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
            batch, filenames, labels = read(rows)
            if self.augmentation is not None:
                batch = self.augmentation(batch, seeds)
            if self.mixing is not None:
                batch, labels = self.mixing(batch, labels, seeds[0])
            return self.preprocessor.tokenize(batch, filenames), labels

        return tf.function(prepare, autograph=False)


def token_batches(
    images: DecodedRecords, preprocessor: Preprocessor | PixelPreprocessor
) -> TokenizedRecords | AugmentedRecords:
    """The images without changes: tokenized once, or in every epoch if the tokens are too many."""
    first = images.rows(np.arange(1)).tokenize(preprocessor)
    size = sum(array.nbytes for array in first.tokens.values())
    if size * len(images.records) <= KEPT_BYTES:
        return images.tokenize(preprocessor)
    return AugmentedRecords(images, preprocessor)


def named_augmentation(name: str, image_input: ImageInput) -> Augmentation | None:
    """The augmentation of `--augment` for images of a preprocessor; None for "none"."""
    arguments = AUGMENTATIONS.get(name)
    return None if arguments is None else Augmentation(image_input.image_size, **arguments)


def training_input(name: str, preprocessor: Preprocessor | PixelPreprocessor) -> ImageInput:
    """Decodes images for `--augment`: larger than the tokens need, if they are to be cropped."""
    if "smallest_crop" not in AUGMENTATIONS.get(name, {}):
        return preprocessor.image_input
    return working_image_input(preprocessor.image_input)


def working_image_input(image_input: ImageInput) -> ImageInput:
    """An `ImageInput` with more pixels, for augmentation: 3 or 1.25 times the side."""
    height, width = (
        3 * side if side <= _SMALL_SIDE else max(3 * _SMALL_SIDE, side * 5 // 4)
        for side in image_input.image_size
    )
    return ImageInput((height, width), image_input.color, image_input.max_pixels)
