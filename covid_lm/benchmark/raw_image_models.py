"""One classifier with random weights as two exports and as a directory for Hugging Face.

A child process writes them (`python -m covid_lm.benchmark.raw_image_models DIR BACKBONE DTYPE
LAYOUT`), so that the process which starts the contenders stays small: Linux includes a parent's
memory in the peak memory of its children.
"""

import dataclasses
import os
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from covid_lm.backbones.configs import backbone_config
from covid_lm.backbones.vocabulary import built_in_vocabulary
from covid_lm.backbones.weights.config import select_backbone
from covid_lm.backbones.weights.read import load_weights
from covid_lm.backbones.weights.shipped import shipped_directory
from covid_lm.models.saving import save_config, save_encoder, save_weights
from covid_lm.models.token_classifier import TokenClassifier, TokenClassifierConfig
from covid_lm.protocols import layout_trim
from covid_lm.serving.saved_model import write_saved_model
from covid_lm.serving.signatures import signatures


def write_models(directory: str, backbone: str, dtype: str, layout: str = "") -> None:
    """Write the files that `raw_images` lists, except the images, to an existing directory.

    `dtype` is the arithmetic of the exports, "float32" or "bfloat16".
    """
    keras.utils.set_random_seed(0)
    if layout:
        _write_patch_models(directory, backbone, dtype, layout)
        return
    vocabulary = built_in_vocabulary()
    size = dataclasses.replace(backbone_config(backbone), vocabulary_size=len(vocabulary))
    config = TokenClassifierConfig(
        classes=("negative", "positive"), backbone_name=backbone, backbone=size, protocol="masked"
    )
    classifier = TokenClassifier(config, vocabulary)
    copy = classifier.serving_copy(dtype)
    write_saved_model(copy, os.path.join(directory, "export"), {})
    _write_map_fn_variant(copy, os.path.join(directory, "map_fn"))
    save_encoder(classifier, os.path.join(directory, "hugging_face"))
    kernel, bias = classifier.logits.get_layer("feature_extraction").dense.get_weights()
    np.savez(os.path.join(directory, "dense.npz"), kernel=kernel, bias=bias)


def _write_patch_models(directory: str, backbone: str, dtype: str, layout: str) -> None:
    weights = shipped_directory(layout)
    if weights is None:
        raise ValueError(f"{layout}: no weights ship with it")
    shape, vocabulary = select_backbone(backbone, weights)
    trim = layout_trim(layout, "absent")
    config = TokenClassifierConfig(
        classes=("negative", "positive"),
        backbone_name=backbone,
        backbone=shape,
        protocol="absent",
        layout=layout,
        head=trim["head"],
        tail=trim["tail"],
        pooling="mean",
    )
    classifier = TokenClassifier(config, vocabulary)
    load_weights(weights, classifier.backbone)
    copy = classifier.serving_copy(dtype)
    write_saved_model(copy, os.path.join(directory, "export"), {})
    run = os.path.join(directory, "run")
    os.makedirs(run)
    save_config(classifier, run, {})
    save_weights(classifier, run)


def _write_map_fn_variant(copy: TokenClassifier, path: str) -> None:
    image_input: Any = copy.preprocessor().image_input
    image_input.call = _decode_by_map_fn  # of this layer only; its size and colour stay
    archive = keras.export.ExportArchive()
    for name, (function, specs) in signatures(copy).items():
        archive.add_endpoint(name, function, input_signature=specs)
    archive.write_out(path, verbose=False)


def _decode_by_map_fn(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
    """Decode as graphs usually do: without checks, so that one bad image fails the batch."""

    def decode(encoded: tf.Tensor) -> tf.Tensor:
        pixels = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        pixels.set_shape([None, None, 3])
        resized = tf.image.resize(pixels, [32, 32], antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(resized), 0.0, 255.0), tf.uint8)

    specification = tf.TensorSpec([32, 32, 3], tf.uint8)
    pixels = tf.map_fn(decode, image_bytes, fn_output_signature=specification)
    valid, reason = tf.ones_like(image_bytes, tf.bool), tf.zeros_like(image_bytes)
    return {"pixels": pixels, "valid": valid, "reason": reason}


if __name__ == "__main__":
    write_models(*sys.argv[1:])
