"""The features of a trained network as targets of the pooled vector (Hinton et al. 2015)."""

import hashlib
import os
from typing import Any

import keras
import numpy as np
from sklearn.metrics import mean_squared_error, r2_score

from covid_lm.backbones.configs import TEACHER
from covid_lm.backbones.convolutional import pooled_features
from covid_lm.backbones.efficientnet_lite import FEATURES
from covid_lm.backbones.parallel_parts import in_halves
from covid_lm.backbones.teacher import teacher_weights
from covid_lm.layers.image_input import ImageInput
from covid_lm.models.classifier import predict_in_batches
from covid_lm.models.saving import save_encoder
from covid_lm.objectives.objective import Objective, output_head, split_line
from covid_lm.pipeline.decoded import DecodedRecords, decode_records
from covid_lm.pipeline.pixel_cache import PixelCache
from covid_lm.pipeline.teacher_targets import CropPlan, TeacherTargets, cached_targets
from covid_lm.protocols import AUGMENTATIONS
from covid_lm.training.build import build_token_classifier
from covid_lm.training.pretraining_options import PretrainingOptions

Tensor = Any  # the backends of Keras share no type
SMALLEST = 128  # pixels of the teacher's images, unless given


class TeacherObjective(Objective):
    """Predicts a teacher's standardized features of random crops from the pooled vector.

    Teacher and student see the same crops, each at its own size. Validation images are not
    cropped.
    """

    loss = "mean_squared_error"
    training: TeacherTargets

    def __init__(self, options: PretrainingOptions, cache: PixelCache):
        super().__init__(options, cache)
        self.weights = teacher_weights(options.teacher)
        self.student = build_token_classifier(options)
        self.preprocessor = self.student.preprocessor(options.policy)
        head = output_head(FEATURES)
        embedding = self.student.embedding
        self.model = keras.Model(embedding.input, head(embedding.output), name="distillation")

    def prepare(self, images: dict[str, DecodedRecords]) -> None:
        """See `Objective`."""
        options, training = self.options, images["train"]
        image_input = self.preprocessor.image_input
        self.teacher_size = options.teacher_size or max(SMALLEST, *image_input.image_size)
        augmentation = AUGMENTATIONS.get(options.augment, {})
        plan = CropPlan(
            training.records,
            image_input,
            self.teacher_size,
            options.crops,
            augmentation,
            options.seed,
        )
        with open(self.weights, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        folder = os.path.join(self.cache.folder, plan.key(training.summary, digest))
        teacher = TeacherNetwork(self.weights, self.teacher_size, plan.shape[-1])
        self.training = cached_targets(
            folder, plan, teacher, FEATURES, self.preprocessor, training.filenames
        )
        if "val" in images:
            size = ImageInput(self.teacher_size, image_input.color)
            larger = decode_records(images["val"].records, size, cache=self.cache)
            features = [teacher.predict(x.pixels, verbose=0) for x in larger.chunks()]
            self.val_targets = self.training.standardize(np.concatenate(features))
            self.val_tokens = images["val"].tokenize(self.preprocessor).tokens
        self.has_val = "val" in images

    def validate(self, batch_size: int) -> dict[str, float]:
        """See `Objective`; `r2` is the share of the features' variance that is predicted."""
        if not self.has_val:
            return {}
        predicted = predict_in_batches(self.model, self.val_tokens, batch_size)
        targets = self.val_targets
        return {
            "error": float(mean_squared_error(targets, predicted)),
            "r2": float(r2_score(targets, predicted, multioutput="variance_weighted")),
        }

    def describe(self) -> str:
        """See `Objective`."""
        images, rows = len(self.training.filenames), len(self.training.crops)
        return (
            f"{TEACHER}'s {FEATURES} features at {self.teacher_size} pixels, of {rows} crops of "
            f"{images} images"
        )

    def summary(self) -> dict[str, Any]:
        """See `Objective`."""
        crops = len(self.training.crops)
        return {"teacher": TEACHER, "teacher_size": self.teacher_size, "crops": crops}

    def epoch_line(self, metrics: dict) -> dict:
        """See `Objective`; the training targets have variance 1, so their r2 is 1 - error."""
        loss = metrics["loss"]
        return split_line({**metrics, "error": loss, "r2": 1 - loss}, "error", "r2")

    def save(self, directory: str) -> None:
        """See `Objective`."""
        save_encoder(self.student, directory)


class TeacherNetwork(keras.Model):
    """The teacher, whose batches are computed by halves where the student's are (`in_halves`).

    It takes pixels, uint8 [batch, size, size, 1 or 3], and returns features, float32
    [batch, width].

    Args:
        weights: as `teacher_weights`.
        size, channels: of the images.
    """

    def __init__(self, weights: str, size: int, channels: int):
        super().__init__(name="teacher")
        pixels = keras.Input((size, size, channels), dtype="uint8", name="pixels")
        rgb = keras.ops.concatenate([pixels] * 3, axis=-1) if channels == 1 else pixels
        self.network = keras.Model(pixels, pooled_features(TEACHER, rgb, weights, "float32"))

    def call(self, pixels: Tensor) -> Tensor:
        """Computes the features."""
        return in_halves(lambda half: self.network(half["pixels"]), {"pixels": pixels})
