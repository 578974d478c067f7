"""Keras' random image operations, drawn from an explicit seed instead of a layer's state."""

import keras
import tensorflow as tf
from keras import layers

from covid_lm.layers.token_masking import GENERATOR

GRAY = 128.0  # fills what a rotation and the like leave empty
_OPERATIONS, _MIXING = range(2)  # folded into a seed, for independent draws
_MIXUP_ALPHA = 0.8


class StatelessSeeds(keras.random.SeedGenerator):
    """Seeds for the draws of one call of a Keras layer, all from one seed.

    The seeds of Keras' own generators depend on the calls before, which `Dataset.map` makes in any
    order, and which a resumed run doesn't repeat.

    Args:
        seed: int32 [2].
    """

    def __init__(self, seed: tf.Tensor):
        # Without the parent's constructor, which makes a variable.
        self.seed = seed
        self.count = 0

    def next(self, ordered: bool = True) -> tf.Tensor:
        """The next seed, int32 [2]."""
        self.count += 1
        return tf.random.fold_in(self.seed, self.count, GENERATOR)


class RandomOperations:
    """RandAugment (Cubuk et al. 2019), then random erasing (Zhong et al. 2017).

    RandAugment does two operations on each image, drawn with replacement. They are Keras layers.
    `keras.layers.RandAugment` draws one pair of them for a whole batch and computes all of them,
    and its one factor makes some operations weaker the larger it is (posterization keeps
    `8 * factor` bits). Two are missing, because Keras 3.15 ignores the lower bound of the threshold
    of solarization, and equalizes the histogram of a whole batch. The identity is there, as in the
    paper.

    Args:
        magnitude: strength of the operations, 0 to 1; 0 for none.
        erasing: share of the images in which a rectangle is filled with noise.
    """

    def __init__(self, magnitude: float, erasing: float):
        self.erasing = layers.RandomErasing((erasing, erasing)) if erasing else None
        if not magnitude:
            self.num_operations, self.operations = 0, []
            return
        self.num_operations = 2
        fill = {"fill_mode": "constant", "fill_value": GRAY}
        m = magnitude
        self.operations = [
            layers.AutoContrast(),
            layers.RandomShear((0.0, 0.3 * m), (0.0, 0.3 * m), **fill),
            layers.RandomTranslation(0.4 * m, 0.4 * m, **fill),
            layers.RandomRotation((-m / 12, m / 12), **fill),  # 30 degrees
            layers.RandomBrightness((-0.4 * m, 0.4 * m)),
            layers.RandomContrast((0.9 * m, 0.9 * m)),
            layers.RandomSharpness((0.5 - 0.45 * m, 0.5 + 0.45 * m)),
            layers.RandomPosterization((8 - round(4 * m), 8)),
            layers.RandomColorDegeneration((0.0, 0.9 * m)),  # the last: for RGB only
        ]

    def __call__(self, images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Changes a batch.

        Args:
            images: float32 [batch, height, width, 1 or 3], values from 0 to 255.
            seed: int32 [2]; the same seed and images give the same result.

        Returns:
            float32 of the same shape, not rounded.
        """
        seeds = StatelessSeeds(tf.random.fold_in(seed, _OPERATIONS, GENERATOR))
        for _ in range(self.num_operations):
            images = self._operate(images, seeds)
        return images if self.erasing is None else transformed(self.erasing, images, seeds)

    def _operate(self, images: tf.Tensor, seeds: StatelessSeeds) -> tf.Tensor:
        """Does one operation on each image, or none."""
        operations = self.operations if images.shape[-1] == 3 else self.operations[:-1]
        count, choices = tf.shape(images)[0], len(operations) + 1
        chosen = tf.random.stateless_uniform([count], seeds.next(), 0, choices, tf.int32, GENERATOR)
        rows = tf.dynamic_partition(tf.range(count), chosen, choices)
        parts = []
        for operation, of_operation in zip(operations, rows, strict=False):
            # With one more image, as some of the layers take no empty batch.
            some = tf.gather(images, tf.concat([of_operation, [0]], 0))
            parts.append(transformed(operation, some, seeds)[:-1])
        changed = tf.dynamic_stitch(rows, [*parts, tf.gather(images, rows[-1])])
        return tf.ensure_shape(changed, images.shape)


class ImageMixing:
    """Mixes each image of a batch with another one, and their labels in the same proportion.

    Args:
        kind: "mixup" (Zhang et al. 2018), "cutmix" (Yun et al. 2019), or "both": one of them for
            each batch.
        num_classes: number of labels.
    """

    def __init__(self, kind: str, num_classes: int):
        self.num_classes = num_classes
        mixup, cutmix = layers.MixUp(_MIXUP_ALPHA), layers.CutMix((1.0, 1.0))
        self.operations = {"mixup": [mixup], "cutmix": [cutmix], "both": [mixup, cutmix]}[kind]

    def __call__(
        self, images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mixes a batch.

        Args:
            images: uint8 [batch, height, width, channels].
            labels: int32 [batch].
            seed: int32 [2]; the same seed and batch give the same result.

        Returns:
            Images like the given ones, and the probability of each class, float32 [batch, classes].
        """
        seed = tf.random.fold_in(seed, _MIXING, GENERATOR)
        values, targets = tf.cast(images, tf.float32), tf.one_hot(labels, self.num_classes)

        def mixed(operation: keras.layers.Layer) -> tuple[tf.Tensor, tf.Tensor]:
            seeds = StatelessSeeds(seed)
            operation.backend.set_backend("tensorflow")
            changes = operation.get_random_transformation(values, training=True, seed=seeds)
            return (
                operation.transform_images(values, changes, training=True),
                operation.transform_labels(targets, changes, training=True),
            )

        choice = tf.random.stateless_uniform([], seed, 0, len(self.operations), tf.int32, GENERATOR)
        branches = [lambda operation=operation: mixed(operation) for operation in self.operations]
        values, targets = tf.switch_case(choice, branches)
        return to_bytes(tf.ensure_shape(values, images.shape)), targets


def transformed(
    operation: keras.layers.Layer, images: tf.Tensor, seeds: StatelessSeeds
) -> tf.Tensor:
    """A batch changed by a Keras preprocessing layer that draws from `seeds`."""
    operation.backend.set_backend("tensorflow")  # in the input pipeline of any backend
    changes = operation.get_random_transformation(images, training=True, seed=seeds)
    return operation.transform_images(images, changes, training=True)


def to_bytes(values: tf.Tensor) -> tf.Tensor:
    """Values rounded and clipped to uint8."""
    return tf.cast(tf.clip_by_value(tf.round(values), 0.0, 255.0), tf.uint8)
