"""Signature `explain` of the export: gradient times input, summed per pixel."""

from collections.abc import Callable

import keras
import tensorflow as tf

from covid_lm.layers.class_output import ClassOutput
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.models.word_gradients import margin_gradients, picture_planes, word_sources


def explain_function(classifier: TokenClassifier) -> Callable:
    """A function from image bytes, and file names if read, to the answer and its `attribution`.

    The attribution, float32 [batch, height, width], is each word's embedding times the gradient of
    the margin of the most probable class, summed over the words of a pixel: a first-order
    estimate of what a pixel's values add to the margin. It is zero for pixels that aren't read and
    for an image that can't be decoded. The gradient is computed in float32. Integrated gradients
    (`evaluation.attribution`), which add up to the margin's change, take dozens of such passes.
    """
    preprocessor, encoder = classifier.preprocessor(), classifier.encoder
    class_output = ClassOutput(classifier.config.classes)
    planes, height, width = picture_planes(preprocessor)

    def explain(image_bytes: tf.Tensor, filename: tf.Tensor | None = None) -> dict[str, tf.Tensor]:
        inputs = preprocessor(image_bytes, filename)
        core = classifier.core_inputs(inputs)
        words = tf.cast(encoder.embed_words(core["token_ids"]), tf.float32)
        table = classifier.backbone.segment_embedding.embeddings
        segments = tf.cast(keras.ops.take(table, core["segment_ids"], axis=0), tf.float32)
        _, chosen, slopes, _ = margin_gradients(classifier, words, segments, core["padding_mask"])
        values = tf.reduce_sum(words * slopes, axis=-1)

        name = filename if preprocessor.reads_filename else image_bytes
        sources = word_sources(preprocessor, preprocessor.file_name_input(name)["lengths"])
        is_pixel = (sources >= 0) & (sources < planes * height * width)
        is_pixel &= tf.reshape(inputs["valid"], [-1] + [1] * (sources.shape.rank - 1))
        first = tf.range(tf.size(image_bytes)) * (height * width)
        first = tf.reshape(first, [-1] + [1] * (sources.shape.rank - 1))
        places = tf.where(is_pixel, first + sources % (height * width), -1)  # -1: not summed
        sums = tf.math.unsorted_segment_sum(values, places, tf.size(image_bytes) * height * width)
        one_hot = tf.one_hot(chosen, len(classifier.config.classes))
        answer = class_output(one_hot, inputs["valid"], inputs["reason"])
        return {
            "attribution": tf.reshape(sums, [-1, height, width]),
            **{key: answer[key] for key in ("label", "valid", "reason")},
        }

    return explain
