"""Signatures of the export: functions from raw bytes to outputs, and their input types."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from covid_lm.backbones.pooled_encoder import PooledEncoder
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

    def core(inputs):
        return classifier.outputs(inputs, training=False)

    # One function for all signatures, because a graph stores its constants with each function.
    if isinstance(classifier, TokenClassifier):
        compute = in_parts(core, classifier.encoder, specs_of_core)
    else:
        compute = _compiled(core, specs_of_core)

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


def in_parts(
    function: Callable[[dict], Any], encoder: PooledEncoder, specs: dict[str, tf.TensorSpec]
) -> Callable[[dict], Any]:
    """Makes a function that computes two parts of a batch, or of one sequence, at the same time.

    TensorFlow's threads wait for each other after each operation that they share, which takes
    longer than many operations of a small encoder. A process with one thread within operations and
    two between them computes each part in a thread of its own.

    The parts are the halves of a batch, or the tokens of a single sequence in two blocks. Which of
    these is computed, the operations Switch and Merge decide: within the functions of a `tf.cond`,
    TensorFlow fuses fewer operations.

    Args:
        function: uses the encoder; from tensors to a structure of tensors that all have the batch
            as their first dimension.
        encoder: usually with fixed weights.
        specs: of the tensors.
    """

    def in_blocks(count: int) -> Callable:
        def compute(inputs: dict[str, tf.Tensor]) -> Any:
            with encoder.in_blocks(count):
                return function(inputs)

        return _compiled(compute, specs)

    half, single = in_blocks(1), in_blocks(2)

    def whole(inputs: dict[str, tf.Tensor]) -> Any:
        count = tf.shape(next(iter(inputs.values())))[0]
        pairs = {k: tf.raw_ops.Switch(data=x, pred=count < 2) for k, x in inputs.items()}
        middle = (count + 1) // 2
        with encoder.shared_constants(tf.compat.v1.get_default_graph().as_default):
            halves = [
                half({name: several[rows] for name, (several, _) in pairs.items()})
                for rows in (slice(None, middle), slice(middle, None))
            ]
            alone = single({name: one for name, (_, one) in pairs.items()})
        return tf.nest.map_structure(
            lambda x, *parts: tf.raw_ops.Merge(inputs=[tf.concat(parts, axis=0), x])[0],
            alone,
            *halves,
        )

    # Automatic control dependencies would let results wait for parts that aren't computed.
    return _compiled(whole, specs, {"_disable_acd": True})


def _compiled(
    function: Callable[[dict], Any],
    specs: dict[str, tf.TensorSpec],
    attributes: dict[str, bool] | None = None,
) -> Callable:
    return tf.function(
        function, input_signature=[specs], autograph=False, experimental_attributes=attributes
    )


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
