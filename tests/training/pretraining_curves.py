"""Run by `test_pretraining_devices`: the same pre-training on one device and on two.

A process of its own, since TensorFlow splits its CPU into logical devices only before it is used.
Prints one JSON object with the runs named on its command line.
"""

import json
import os
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from covid_lm import pretrain
from covid_lm.backbones.configs import BackboneConfig
from covid_lm.layers.token_masking import TokenMasking
from covid_lm.models.masked_lm import MaskedLanguageModel
from covid_lm.objectives import words
from covid_lm.pipeline.masked import MaskedTokens
from covid_lm.pipeline.pixel_cache import PixelCache
from covid_lm.pipeline.tokenized import TokenizedRecords
from covid_lm.training import loop
from covid_lm.training.pretraining_options import PretrainingOptions
from covid_lm.training.termination import Termination

LENGTH, WORDS, NUM_MASKED = 32, 60, 5
SEQUENCES = 26  # of batches of 8 the last one is filled up
BATCH_SIZE, EPOCHS = 8, 3
LOSSES = []


class Recorder(loop.StopOnNonFiniteLoss):
    """The loss of every step; Keras tells the mean over an epoch's steps so far."""

    def on_train_batch_end(self, batch, logs=None):
        before = self.total if batch else 0.0
        self.total = float(logs["loss"]) * (batch + 1)
        LOSSES.append(self.total - before)


def tokens(count: int) -> TokenizedRecords:
    """Sequences of unequal numbers of words, so that devices have unequal numbers of masks."""
    generator = np.random.default_rng(count)
    token_ids = generator.integers(5, 5 + WORDS, (count, LENGTH), np.int32)
    lengths = generator.integers(4, LENGTH + 1, (count, 1))
    mask = (np.arange(LENGTH) < lengths).astype(np.int32)
    segments = (np.arange(LENGTH) > lengths - 3).astype(np.int32) * mask
    arrays = {"token_ids": token_ids * mask, "segment_ids": segments, "padding_mask": mask}
    return TokenizedRecords(arrays, np.zeros(count, np.int32))


def trained(strategy: tf.distribute.Strategy, dropout: float, stops: tuple[int, ...]) -> dict:
    """The curve and the figures of a run in several calls, up to each of `stops`."""
    LOSSES.clear()
    masking = TokenMasking(np.arange(5, 5 + WORDS), 4, 5 + WORDS, NUM_MASKED)
    options = PretrainingOptions(batch_size=BATCH_SIZE, learning_rate=1e-3)
    trivial = {
        split: {"unigram": dict.fromkeys(("accuracy", "image_accuracy", "name_accuracy"), 0.5)}
        for split in ("train", "val")
    }
    with tempfile.TemporaryDirectory() as run_dir, strategy.scope():
        for epochs in stops:
            keras.utils.set_random_seed(0)
            config = BackboneConfig(1, 32, 2, 64, 5 + WORDS, LENGTH, dropout=dropout)
            model = MaskedLanguageModel(config, (), masking.word_ids, LENGTH, NUM_MASKED)
            options = dataclasses.replace(options, epochs=epochs)
            objective = words.WordObjective(options, PixelCache("unused"))
            objective.language_model, objective.trivial = model, trivial
            objective.masked = {
                "train": MaskedTokens(tokens(SEQUENCES), masking),
                "val": MaskedTokens(tokens(7), masking),
            }
            history = pretrain.fit(objective, BATCH_SIZE, options, run_dir, Termination())
    return {"losses": list(LOSSES), "epochs": [{**line, "seconds": 0} for line in history]}


def main() -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, devices)
    loop.StopOnNonFiniteLoss = Recorder
    words.epoch_table = lambda *_: ""
    one, two = tf.distribute.get_strategy(), tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    runs = {
        "one": (one, 0.0, (EPOCHS,)),
        "two": (two, 0.0, (EPOCHS,)),
        "two_dropout": (two, 0.1, (EPOCHS,)),
        "two_dropout_in_two_calls": (two, 0.1, (1, EPOCHS)),
    }
    json.dump({name: trained(*runs[name]) for name in sys.argv[1:]}, sys.stdout)


if __name__ == "__main__":
    main()
