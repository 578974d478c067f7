"""The preprocessor: functional layers 1 to 4 (paper, section 3.1), from bytes to token ids."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
import tensorflow as tf

from covid_lm.layers.concatenation import Concatenation
from covid_lm.layers.file_name_input import FileNameInput
from covid_lm.layers.image_input import ImageInput
from covid_lm.layers.tensorflow_layer import TensorFlowLayer
from covid_lm.layers.token_encoder import TokenEncoder
from covid_lm.layers.trim import Trim
from covid_lm.protocols import FIXED_LENGTH


@keras.saving.register_keras_serializable("covid_lm")
class Preprocessor(TensorFlowLayer):
    """Converts image bytes and a file name to one BERT sequence, with core TensorFlow ops only.

    Runs on the host: eagerly or in `Dataset.map` for training, in the export's graph for serving.

    Args:
        vocabulary: words, index = id.
        policy, fixed_length: see `FileNameInput`.
        image_size, color: see `ImageInput`.
        patch_size: see `Concatenation`.
        head, tail: see `Trim`.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        policy: str = "visible",
        image_size: int = 32,
        color: Literal["rgb", "luminance"] = "rgb",
        patch_size: int | None = None,
        head: int = 256,
        tail: int = 256,
        fixed_length: int = FIXED_LENGTH,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.image_input = ImageInput(image_size=image_size, color=color)
        self.file_name_input = FileNameInput(policy=policy, fixed_length=fixed_length)
        self.concatenation = Concatenation(patch_size)
        self.trim = Trim(head=head, tail=tail)
        self.token_encoder = TokenEncoder(vocabulary=vocabulary)

    @property
    def reads_filename(self) -> bool:
        """True if the sequence depends on the file name."""
        return self.file_name_input.reads_filename

    def call(
        self, image_bytes: tf.Tensor, filename: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Decodes and tokenizes a batch.

        Args:
            image_bytes: string [batch], encoded images.
            filename: string [batch]; optional if `reads_filename` is false.

        Returns:
            `token_ids`, `segment_ids` and `padding_mask`, int32 [batch, head + tail]; with
            patches, `token_ids` is [batch, head + tail, bytes per token]. `valid`, bool [batch],
            false for an image that can't be decoded and is replaced by a black one, and `reason`,
            string [batch], why, else "".

        Raises:
            ValueError: no file name under a policy that reads it.
        """
        image = self.decode(image_bytes)
        tokens = self.tokenize(image["pixels"], filename)
        return {**tokens, "valid": image["valid"], "reason": image["reason"]}

    def decode(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """First half: encoded images, string [batch], to `pixels` and more (`ImageInput`)."""
        return self.image_input(image_bytes)

    def tokenize(
        self, pixels: tf.Tensor, filename: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Second half: decoded images, uint8 [batch, height, width, channels], to tokens."""
        if filename is None and self.reads_filename:
            raise ValueError(f"the {self.file_name_input.policy} policy reads the file name")
        name = self.file_name_input(filename if self.reads_filename else pixels)
        return self.token_encoder(self.trim(self.concatenation(pixels, name)))
