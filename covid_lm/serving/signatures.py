"""Signatures of the export: functions from raw bytes to outputs, and their input types."""

from collections.abc import Callable

import tensorflow as tf

from covid_lm.layers.class_output import ClassOutput
from covid_lm.models.classifier import Classifier
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.serving.explain import explain_function


def signatures(classifier: Classifier) -> dict[str, tuple[Callable, list[tf.TensorSpec]]]:
    """Signature name to (function, input signature).

    The functions use core TensorFlow ops only. Inputs and outputs share their first dimension. An
    image that can't be decoded has an empty label, `valid` false, a `reason`, and zeros for every
    score and embedding. A classifier, a `serving_copy`, that reads no tokens has no signature
    `tokenize` and no `explain`.
    """
    preprocessor = classifier.preprocessor()
    class_output = ClassOutput(classifier.config.classes)
    shapes = classifier.outputs.input
    specs_of_core = {key: tf.TensorSpec(x.shape, x.dtype, name=key) for key, x in shapes.items()}

    @tf.function(input_signature=[specs_of_core])
    def compute(inputs):
        # One function for all signatures, because a graph stores its constants with each function.
        return classifier.outputs(inputs, training=False)

    def serving_default(image_bytes, filename=None):
        inputs = preprocessor(image_bytes, filename)
        probabilities = compute(classifier.core_inputs(inputs))["probabilities"]
        return class_output(probabilities, inputs["valid"], inputs["reason"])

    def classify(inputs):
        image_bytes, filename = parse_examples(inputs)
        scores = serving_default(image_bytes, filename)["probabilities"]
        classes = tf.tile([classifier.config.classes], [tf.shape(inputs)[0], 1])
        return {"classes": classes, "scores": scores}

    def embed(image_bytes, filename=None):
        inputs = preprocessor(image_bytes, filename)
        embedding = tf.cast(compute(classifier.core_inputs(inputs))["embedding"], tf.float32)
        return {"embedding": tf.where(inputs["valid"][:, tf.newaxis], embedding, 0.0)}

    def tokenize(image_bytes, filename=None):
        tokens = preprocessor(image_bytes, filename)
        return {key: tokens[key] for key in classifier.input_keys}

    specs = [tf.TensorSpec([None], tf.string, name="image_bytes")]
    if preprocessor.reads_filename:
        specs.append(tf.TensorSpec([None], tf.string, name="filename"))
    functions = {
        "serving_default": (serving_default, specs),
        "classify": (classify, [tf.TensorSpec([None], tf.string, name="inputs")]),
        "embed": (embed, specs),
    }
    if isinstance(classifier, TokenClassifier):
        functions["tokenize"] = tokenize, specs
        functions["explain"] = explain_function(classifier), specs
    return functions


def parse_examples(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Reads `image/encoded` and `image/filename` of serialized tf.Examples, string [batch] each.

    An absent feature becomes "". An invalid tf.Example, or one with a feature of another type,
    becomes two "" without an effect on others: `parse_example` would fail the whole batch.
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
        # A last element that can't fail: get_single_element rejects an empty dataset.
        .concatenate(tf.data.Dataset.from_tensors((count, tf.fill([2], ""))))
        .batch(count + 1)
        .get_single_element()
    )
    blank = tf.fill([count + 1, 2], "")
    values = tf.tensor_scatter_nd_update(blank, index[:, tf.newaxis], values)[:-1]
    return values[:, 0], values[:, 1]
