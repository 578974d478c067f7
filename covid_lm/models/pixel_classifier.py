"""Convolutional classifiers, with which the paper compares its own: image bytes to probabilities.

The halves are those of `TokenClassifier`, with pixels instead of tokens and without file names.
"""

import dataclasses
from typing import Any

import keras
import tensorflow as tf

from covid_lm.backbones.convolutional import pooled_features
from covid_lm.layers.image_input import ImageInput
from covid_lm.layers.tensorflow_layer import TensorFlowLayer
from covid_lm.models.classifier import Classifier
from covid_lm.protocols import DTYPE_POLICIES


@dataclasses.dataclass(frozen=True)
class PixelClassifierConfig:
    """Configuration from which, with the weights, a classifier can be rebuilt."""

    classes: tuple[str, ...]
    backbone_name: str
    image_size: int = 224
    dropout: float = 0.05
    dtype: str = "float32"
    weights: str | None = None

    # Choices of the token classifier that don't apply to pixels.
    protocol = training_policy = test_policy = "absent"

    @property
    def layout(self) -> str:
        """Height and width in pixels, in place of the name of a layout."""
        return f"{self.image_size}x{self.image_size}"

    @classmethod
    def from_dict(cls, values: dict) -> "PixelClassifierConfig":
        """Rebuilds a config from `dataclasses.asdict`; else KeyError or TypeError."""
        return cls(**{**values, "classes": tuple(values["classes"])})


@keras.saving.register_keras_serializable("covid_lm")
class PixelPreprocessor(TensorFlowLayer):
    """Converts image bytes to pixels, with the same `ImageInput` as the token sequences.

    Args:
        image_size: see `ImageInput`.
    """

    reads_filename = False

    def __init__(self, image_size: int = 224, **kwargs: Any):
        super().__init__(**kwargs)
        self.image_input = ImageInput(image_size=image_size)

    def call(
        self, image_bytes: tf.Tensor, filename: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Decodes images, as `decode`; the file name is ignored."""
        return self.decode(image_bytes)

    def decode(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Decodes and resizes string [batch], as `ImageInput`."""
        return self.image_input(image_bytes)

    def tokenize(
        self, pixels: tf.Tensor, filename: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Returns the pixels, uint8 [batch, height, width, 3], as the network's input."""
        return {"pixels": pixels}


class PixelClassifier(Classifier):
    """A convolutional image classifier of `pixels`, uint8 [batch, height, width, 3].

    Its embedding is the network's averaged features.

    Args:
        dtype_policy: Keras policy of weights and arithmetic; that of `config.dtype` by default.
        weights: file of pretrained weights; not needed for a finished run, which has its own.

    Raises:
        InputError: unusable weights.
    """

    input_keys = ("pixels",)
    reads_tokens = False
    config: PixelClassifierConfig

    def __init__(
        self,
        config: PixelClassifierConfig,
        dtype_policy: str | None = None,
        weights: str | None = None,
    ):
        self._preprocessor = PixelPreprocessor(config.image_size)
        policy = dtype_policy or DTYPE_POLICIES[config.dtype]
        size = (config.image_size, config.image_size, 3)
        inputs = {"pixels": keras.Input(size, dtype="uint8", name="pixels")}
        embedding = pooled_features(config.backbone_name, inputs["pixels"], weights, policy)
        super().__init__(config, inputs, embedding, policy)

    def preprocessor(self, policy: str | None = None) -> PixelPreprocessor:
        """See `Classifier`; the same under every metadata policy."""
        return self._preprocessor

    def serving_copy(self, dtype: str) -> "PixelClassifier":
        """See `Classifier`."""
        copy = PixelClassifier(self.config, dtype_policy=dtype)
        copy.assign(self)
        return copy
