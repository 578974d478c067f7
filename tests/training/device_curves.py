"""Run by `test_global_equality`: the same training on one device, on two, and compiled by XLA.

A process of its own, since TensorFlow splits its CPU into logical devices only before it is used.
Prints one JSON object.
"""

import json
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from covid_lm.backbones.configs import BackboneConfig
from covid_lm.backbones.vocabulary import built_in_vocabulary
from covid_lm.models.classifier import predict_tokens
from covid_lm.models.token_classifier import TokenClassifier, TokenClassifierConfig
from covid_lm.pipeline.tokenized import TokenizedRecords
from covid_lm.training.fine_tuning import validate
from covid_lm.training.optimizer import compile_for_training
from covid_lm.training.options import TrainingOptions

LENGTH = 32
IMAGES = 26  # of batches of 8 the last one is filled up
BATCH_SIZE = 8
STEPS = 20
HELD_OUT = (17, 1)  # neither a multiple of the devices; the second is fewer images than devices


def classifier() -> TokenClassifier:
    """Without dropout, whose draws no two devices share."""
    keras.utils.set_random_seed(0)
    vocabulary = built_in_vocabulary()
    backbone = BackboneConfig(
        1, 32, 2, 64, vocabulary_size=len(vocabulary), max_sequence_length=LENGTH, dropout=0.0
    )
    config = TokenClassifierConfig(
        classes=("a", "b", "c"),
        backbone_name="1x32",
        backbone=backbone,
        head=LENGTH // 2,
        tail=LENGTH // 2,
        dropout=0.0,
    )
    return TokenClassifier(config, vocabulary)


def records(count: int) -> TokenizedRecords:
    generator = np.random.default_rng(count)
    token_ids = generator.integers(0, 100, (count, LENGTH), np.int32)
    tokens = {
        "token_ids": token_ids,
        "segment_ids": np.zeros_like(token_ids),
        "padding_mask": np.ones_like(token_ids),
    }
    return TokenizedRecords(tokens, generator.integers(0, 3, count, np.int32))


class Curve(keras.callbacks.Callback):
    """The loss of every step; Keras tells the mean over an epoch's steps so far."""

    def __init__(self):
        super().__init__()
        self.losses = []

    def on_train_batch_end(self, batch, logs=None):
        before = self.total if batch else 0.0
        self.total = logs["loss"] * (batch + 1)
        self.losses.append(self.total - before)


def trained(strategy: tf.distribute.Strategy, jit_compile: bool = False) -> dict:
    with strategy.scope():
        model = classifier()
        training, curve = records(IMAGES), Curve()
        options = TrainingOptions(learning_rate=1e-3)
        compile_for_training(model.logits, options, training.steps(BATCH_SIZE))
        model.logits.jit_compile = jit_compile
        for epoch in range(STEPS // training.steps(BATCH_SIZE)):
            batches = training.epochs(BATCH_SIZE, 0, range(epoch, epoch + 1))
            model.logits.fit(batches, shuffle=False, callbacks=[curve], verbose=0)
        if jit_compile:
            return {"losses": curve.losses}
        return {
            "losses": curve.losses,
            "validation": validate(model.logits, records(17), BATCH_SIZE),
            "probabilities": [
                predict_tokens(model, records(count).tokens, BATCH_SIZE).tolist()
                for count in HELD_OUT
            ],
        }


def main() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, devices)
    one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    results = {"one": trained(one), "two": trained(two), "xla": trained(one, jit_compile=True)}
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
