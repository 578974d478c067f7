"""The export's signatures: functions from raw bytes to answers, and what they take."""

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from covid_lm.classifier import Classifier
from covid_lm.layers.class_output import ClassOutput

TOKEN_KEYS = ("token_ids", "segment_ids", "padding_mask")


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
    backbone = dataclasses.replace(classifier.config.backbone, vocabulary_size=len(reachable))
    config = dataclasses.replace(classifier.config, backbone=backbone)
    pruned = Classifier(config, classifier.vocabulary, dtype_policy=dtype)
    embeddings = classifier.backbone.token_embedding.embeddings
    for source, target in zip(classifier.logits.variables, pruned.logits.variables, strict=True):
        value = tf.gather(source, reachable) if source is embeddings else source
        target.assign(tf.cast(value, target.dtype))
    return pruned, rows


def signatures(
    classifier: Classifier, rows: np.ndarray
) -> dict[str, tuple[Callable, list[tf.TensorSpec]]]:
    """Name to (function, input signature); the functions hold core TensorFlow ops only.

    All outputs share their first dimension with the inputs. What an image that can't be decoded
    gets is an empty label, `valid` false, and NaN for every score and embedding.

    Args:
        classifier: a pruned one.
        rows: its table from vocabulary id to embedding row.
    """
    preprocessor = classifier.preprocessor()
    class_output = ClassOutput(classifier.config.classes)

    def core_inputs(tokens: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        token_rows = tf.gather(tf.constant(rows), tokens["token_ids"])
        return {key: tokens[key] for key in TOKEN_KEYS} | {"token_ids": token_rows}

    def serving_default(image_bytes, filename=None):
        tokens = preprocessor(image_bytes, filename)
        probabilities = classifier.core(core_inputs(tokens), training=False)
        return class_output(probabilities, tokens["valid"])

    def classify(inputs):
        image_bytes, filename = parse_examples(inputs)
        answer = serving_default(image_bytes, filename)
        classes = tf.tile([classifier.config.classes], [tf.shape(inputs)[0], 1])
        return {"classes": classes, "scores": answer["probabilities"]}

    def embed(image_bytes, filename=None):
        tokens = preprocessor(image_bytes, filename)
        embedding = tf.cast(classifier.embedding(core_inputs(tokens), training=False), tf.float32)
        return {"embedding": tf.where(tokens["valid"][:, tf.newaxis], embedding, float("nan"))}

    def tokenize(image_bytes, filename=None):
        tokens = preprocessor(image_bytes, filename)
        return {key: tokens[key] for key in TOKEN_KEYS}

    specs = [tf.TensorSpec([None], tf.string, name="image_bytes")]
    if preprocessor.reads_filename:
        specs.append(tf.TensorSpec([None], tf.string, name="filename"))
    return {
        "serving_default": (serving_default, specs),
        "classify": (classify, [tf.TensorSpec([None], tf.string, name="inputs")]),
        "embed": (embed, specs),
        "tokenize": (tokenize, specs),
    }


def parse_examples(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads `image/encoded` and `image/filename` of serialized tf.Examples, string [batch].

    An absent feature reads as "". One of another type, or a string that is no tf.Example, makes
    both "" for that example alone: a plain `parse_example` would fail all that share its batch.
    """
    features = {
        name: tf.io.FixedLenFeature([], tf.string, default_value="")
        for name in ("image/encoded", "image/filename")
    }

    def parse(index, example):
        parsed = tf.io.parse_single_example(example, features)
        return index, tf.stack([parsed[name] for name in features])

    count = tf.size(serialized, tf.int64)
    index, values = (
        tf.data.Dataset.from_tensor_slices(serialized)
        .enumerate()
        .map(parse)
        .ignore_errors()
        # A last element that can't fail: get_single_element refuses an empty dataset.
        .concatenate(tf.data.Dataset.from_tensors((count, tf.fill([2], ""))))
        .batch(count + 1)
        .get_single_element()
    )
    blank = tf.fill([count + 1, 2], "")
    values = tf.tensor_scatter_nd_update(blank, index[:, tf.newaxis], values)[:-1]
    return values[:, 0], values[:, 1]
