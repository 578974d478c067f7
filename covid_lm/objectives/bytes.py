"""The values of masked patches as targets (He et al. 2022; Xie et al. 2022)."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from covid_lm.backbones.masked_lm_encoder import MaskedLmEncoder
from covid_lm.layers.patch_masking import PatchMasking
from covid_lm.models.classifier import predict_in_batches
from covid_lm.models.saving import save_encoder
from covid_lm.objectives.objective import Objective, output_head, split_line
from covid_lm.pipeline.augmented import AugmentedRecords, named_augmentation, training_input
from covid_lm.pipeline.decoded import DecodedRecords, decode_records
from covid_lm.pipeline.masked import MaskedPatches
from covid_lm.pipeline.pixel_cache import PixelCache
from covid_lm.training.build import build_token_classifier
from covid_lm.training.pretraining_options import PretrainingOptions

TOGETHER = 256  # validation images masked in one call


class ByteObjective(Objective):
    """Predicts the values of the bytes of masked patches from the encoder's vectors there."""

    loss = "mean_absolute_error"
    training: MaskedPatches

    def __init__(self, options: PretrainingOptions, cache: PixelCache):
        super().__init__(options, cache)
        self.student = build_token_classifier(options)
        self.preprocessor = self.student.preprocessor(options.policy)
        config = self.student.config.backbone
        assert config.patches is not None  # `PretrainingOptions` requires such a layout
        assert options.mask_rate is not None
        vocabulary = self.student.vocabulary
        self.masking = PatchMasking(config.patches.num_patches, vocabulary, options.mask_rate)
        encoder = MaskedLmEncoder(
            self.student.backbone,
            config.activation,
            config.layer_norm_epsilon,
            stochastic_depth=config.stochastic_depth,
            name="masked_encoder",
        )
        positions = keras.Input((self.masking.num_masked,), dtype="int32", name="masked_positions")
        inputs = {**self.student.embedding.input, "masked_positions": positions}
        head = output_head(config.patches.num_bytes, start=0.5)  # the middle of the range
        self.model = keras.Model(inputs, head(encoder(inputs)), name="masked_patches")

    def prepare(self, images: dict[str, DecodedRecords]) -> None:
        """See `Objective`."""
        training, preprocessor = images["train"], self.preprocessor
        image_input = training_input(self.options.augment, preprocessor)
        if image_input is not preprocessor.image_input:
            training = decode_records(training.records, image_input, cache=self.cache)
        augmentation = named_augmentation(self.options.augment, preprocessor.image_input)
        source = AugmentedRecords(training, preprocessor, augmentation)
        self.training = MaskedPatches(source, self.masking)
        self.validation = self._validation(images["val"]) if "val" in images else None

    def _validation(self, images: DecodedRecords) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Masked tokens and their values, with the same masks in every epoch."""
        tokens = images.tokenize(self.preprocessor).tokens
        parts = []
        for start in range(0, len(images.records), TOGETHER):
            chunk = {name: tf.constant(x[start : start + TOGETHER]) for name, x in tokens.items()}
            inputs, values = self.masking(chunk, tf.constant([self.options.seed, start]))
            parts.append(({name: x.numpy() for name, x in inputs.items()}, values.numpy()))
        inputs = {name: np.concatenate([part[name] for part, _ in parts]) for name in parts[0][0]}
        values = np.concatenate([values for _, values in parts])
        self.trivial_error = self._error_of_mean(tokens["token_ids"], inputs, values)
        return inputs, values

    def _error_of_mean(
        self, token_ids: np.ndarray, inputs: dict[str, np.ndarray], values: np.ndarray
    ) -> float:
        """Mean absolute error of each image's mean over its visible patches."""
        last = 1 + self.masking.num_patches
        visible = np.ones(token_ids.shape[:2], bool)
        np.put_along_axis(visible, inputs["masked_positions"], False, axis=1)
        errors = []
        for ids, shown, expected in zip(token_ids, visible, values, strict=True):
            mean = np.mean(self.masking.values(ids[1:last][shown[1:last]]))
            errors.append(np.abs(expected - mean).mean())
        return float(np.mean(errors))

    def validate(self, batch_size: int) -> dict[str, float]:
        """See `Objective`; `error` is the mean absolute error of values from 0 to 1."""
        if self.validation is None:
            return {}
        inputs, values = self.validation
        predicted = predict_in_batches(self.model, inputs, batch_size)
        return {"error": float(np.abs(predicted - values).mean())}

    def describe(self) -> str:
        """See `Objective`."""
        masking = self.masking
        text = f"{masking.num_masked} of {masking.num_patches} patches masked"
        if self.validation is not None:
            text += (
                f"; predicting the mean of an image's visible values has error "
                f"{self.trivial_error:.4f} on the validation images"
            )
        return text

    def summary(self) -> dict[str, Any]:
        """See `Objective`."""
        masked = {"patches": self.masking.num_patches, "masked": self.masking.num_masked}
        if self.validation is None:
            return masked
        return {**masked, "trivial_predictors": {"val": {"visible_mean": self.trivial_error}}}

    def epoch_line(self, metrics: dict) -> dict:
        """See `Objective`."""
        return split_line({**metrics, "error": metrics["loss"]}, "error")

    def save(self, directory: str) -> None:
        """See `Objective`."""
        save_encoder(self.student, directory)
