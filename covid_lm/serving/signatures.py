"""The export's signatures: functions from raw bytes to answers, and what they take."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from covid_lm.classifier import Classifier
from covid_lm.layers.class_output import ClassOutput

EXPORT_DTYPES = ("float32", "bfloat16")


def pruned_classifier(classifier: Classifier, dtype: str) -> tuple[Classifier, np.ndarray]:
    """A copy that holds the embedding rows that tokens can reach, and nothing of the others.

    Args:
        classifier: the trained one.
        dtype: of the copy's weights and arithmetic, "float32" or "bfloat16".

    Returns:
        The copy, and the table from vocabulary id to embedding row, int32 [vocabulary].
    """
    reachable = classifier.preprocessor().token_encoder.reachable_token_ids
    rows = np.zeros(len(classifier.vocabulary), np.int32)
    rows[reachable] = np.arange(len(reachable))
    config = dataclasses.replace(
        classifier.config,
        backbone=dataclasses.replace(classifier.config.backbone, vocabulary_size=len(reachable)),
        dtype=dtype,
    )
    pruned = Classifier(config, classifier.vocabulary)
    embeddings = classifier.backbone.token_embedding.embeddings
    for source, target in zip(classifier.logits.variables, pruned.logits.variables, strict=True):
        target.assign(tf.gather(source, reachable) if source is embeddings else source)
    return pruned, rows


def signatures(
    classifier: Classifier, rows: np.ndarray
) -> dict[str, tuple[Callable, list[tf.TensorSpec]]]:
    """Name to (function, input signature); the functions hold core TensorFlow ops only.

    Args:
        classifier: a pruned one.
        rows: its table from vocabulary id to embedding row.
    """
    preprocessor = classifier.preprocessor()
    class_output = ClassOutput(classifier.config.classes)

    def embedding_inputs(tokens: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {
            "token_ids": tf.gather(tf.constant(rows), tokens["token_ids"]),
            "segment_ids": tokens["segment_ids"],
            "padding_mask": tokens["padding_mask"],
        }

    def serving_default(image_bytes, filename=None):
        tokens = preprocessor(image_bytes, filename)
        probabilities = classifier.core(embedding_inputs(tokens), training=False)
        return class_output(probabilities, tokens["valid"])

    def tokenize(image_bytes, filename=None):
        tokens = preprocessor(image_bytes, filename)
        return {key: tokens[key] for key in ("token_ids", "segment_ids", "padding_mask")}

    specs = [tf.TensorSpec([None], tf.string, name="image_bytes")]
    if preprocessor.reads_filename:
        specs.append(tf.TensorSpec([None], tf.string, name="filename"))
    return {
        "serving_default": (serving_default, specs),
        "tokenize": (tokenize, specs),
    }
