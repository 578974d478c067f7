"""The interface that all classifiers share, and prediction in batches."""

import math
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf


class Classifier(Protocol):
    """A live image classifier, `TokenClassifier` or `PixelClassifier`.

    Attributes:
        config: the dataclass from which the classifier was built.
        logits: keras Model, inputs to float32 logits [batch, classes]; this is what is trained.
        core: keras Model, inputs to float32 probabilities [batch, classes].
        embedding: keras Model, inputs to the vector before the head, [batch, hidden_dim].
    """

    config: Any
    logits: keras.Model
    core: keras.Model
    embedding: keras.Model

    @property
    def input_keys(self) -> tuple[str, ...]:
        """Names of the preprocessor's outputs that the models take."""

    @property
    def reads_tokens(self) -> bool:
        """True if the inputs are token ids, false if they are pixels."""

    def preprocessor(self, policy: str | None = None) -> Any:
        """The preprocessor under a metadata policy, by default the one of the test phase."""

    def serving_copy(self, dtype: str) -> "Classifier":
        """A copy for the export, with weights and arithmetic in "float32" or "bfloat16"."""

    def core_inputs(self, preprocessed: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The inputs of `core` and `embedding`, selected from the preprocessor's outputs."""


def predict_tokens(classifier: Classifier, tokens: dict, batch_size: int = 32) -> np.ndarray:
    """Returns class probabilities for the preprocessor's outputs, float32 [n, classes]."""
    return predict_in_batches(classifier.core, tokens, batch_size)


def predict_in_batches(model: keras.Model, tokens: dict, batch_size: int) -> np.ndarray:
    """Returns the model's outputs for n inputs, [n, ...], computed on one device or on several.

    Several devices get equal shares of each batch; the last batch is filled up for that.

    Args:
        tokens: input name to array [n, ...].
    """
    count = len(next(iter(tokens.values())))
    replicas = model.distribute_strategy.num_replicas_in_sync
    if replicas > 1:
        batch_size = math.ceil(min(batch_size, count) / replicas) * replicas
        rows = np.resize(np.arange(count), math.ceil(count / batch_size) * batch_size)
        tokens = {key: value[rows] for key, value in tokens.items()}
    return model.predict(tokens, batch_size=batch_size, verbose=0)[:count]
