"""The base of all classifiers, and prediction in batches."""

import math
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from covid_lm.layers.feature_extraction import FeatureExtraction


class Classifier:
    """A live image classifier, `TokenClassifier` or `PixelClassifier`.

    Attributes:
        input_keys: names of the preprocessor's outputs that the models take.
        reads_tokens: true if the inputs are token ids, false if they are pixels.
        logits: keras Model, inputs to float32 logits [batch, classes]; this is what is trained.
        core: keras Model, inputs to float32 probabilities [batch, classes].
        embedding: keras Model, inputs to the vector before the head, [batch, hidden_dim].
        outputs: keras Model, inputs to `probabilities` and `embedding` at once.

    Args:
        config: dataclass from which the classifier can be rebuilt.
        inputs: the models' symbolic inputs.
        embedding: symbolic, [batch, hidden_dim].
        policy: Keras policy of the head.
    """

    input_keys: tuple[str, ...]
    reads_tokens: bool

    def __init__(
        self,
        config: Any,
        inputs: dict[str, keras.KerasTensor],
        embedding: keras.KerasTensor,
        policy: str,
    ):
        self.config = config
        head = FeatureExtraction(
            len(config.classes), config.dropout, dtype=policy, name="feature_extraction"
        )
        logits = head(embedding)
        self.embedding = keras.Model(inputs, embedding, name="embedding")
        self.logits = keras.Model(inputs, logits, name="logits")
        self.core = keras.Model(inputs, keras.ops.softmax(logits), name="core")
        self.outputs = keras.Model(
            inputs, {"embedding": embedding, "probabilities": self.core.output}, name="outputs"
        )

    def preprocessor(self, policy: str | None = None) -> Any:
        """The preprocessor under a metadata policy, by default the one of the test phase."""
        raise NotImplementedError

    def serving_copy(self, dtype: str) -> Self:
        """A copy for the export, with weights and arithmetic in "float32" or "bfloat16"."""
        raise NotImplementedError

    def fix_weights(self) -> None:
        """Prepares the weights for inference; the classifier can't be trained afterwards."""

    def assign(self, source: "Classifier", rows: np.ndarray | None = None) -> None:
        """Copies a classifier's weights; of a larger embedding table, only the given rows."""
        for theirs, own in zip(source.logits.variables, self.logits.variables, strict=True):
            value = theirs if theirs.shape == own.shape else keras.ops.take(theirs, rows, axis=0)
            own.assign(keras.ops.cast(value, own.dtype))

    def core_inputs(self, preprocessed: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The inputs of `core` and `embedding`, selected from the preprocessor's outputs."""
        return {key: preprocessed[key] for key in self.input_keys}


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
    strategy = getattr(model, "distribute_strategy", None)  # TensorFlow's
    replicas = 1 if strategy is None else strategy.num_replicas_in_sync
    if replicas > 1:
        batch_size = math.ceil(min(batch_size, count) / replicas) * replicas
        rows = np.resize(np.arange(count), math.ceil(count / batch_size) * batch_size)
        tokens = {key: value[rows] for key, value in tokens.items()}
    return model.predict(tokens, batch_size=batch_size, verbose=0)[:count]
