"""The same training on JAX and on TensorFlow, run by `test_jax_training` once for each process.

`python -m tests.training.jax_curves NUM_PROCESSES PROCESS_ID PORT DROPOUT` prints one JSON object.
With dropout, the weights are averaged, too.
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

from covid_lm.models.classifier import predict_tokens
from covid_lm.models.token_classifier import TokenClassifier
from covid_lm.pipeline.tokenized import TokenizedRecords
from covid_lm.training.fine_tuning import validate
from covid_lm.training.jax import launcher as jax_fitting
from covid_lm.training.options import TrainingOptions
from tests.training import device_curves
from tests.training.device_curves import BATCH_SIZE, IMAGES, STEPS, records


class Tokenized:
    """Replaces `DecodedRecords`, of which only the token ids are needed."""

    def __init__(self, split):
        self.split = split
        self.records = range(len(split.labels))

    def rows(self, indices):
        tokens = {key: value[indices] for key, value in self.split.tokens.items()}
        return Tokenized(TokenizedRecords(tokens, self.split.labels[indices]))

    def tokenize(self, preprocessor):
        return self.split


def classifier(dropout: float) -> TokenClassifier:
    config = device_curves.classifier().config
    backbone = dataclasses.replace(config.backbone, dropout=dropout)
    keras.utils.set_random_seed(0)
    vocabulary = device_curves.built_in_vocabulary()
    return TokenClassifier(
        dataclasses.replace(config, backbone=backbone, dropout=dropout / 2), vocabulary
    )


def trained_on_jax(num_processes: int, process_id: int, port: str, dropout: float) -> dict:
    steps_per_epoch = -(-IMAGES // BATCH_SIZE)
    options = TrainingOptions(
        epochs=STEPS // steps_per_epoch,
        learning_rate=1e-3,
        ema=0.8 if dropout else 0.0,
        backend="jax",
        coordinator=f"127.0.0.1:{port}",
        num_processes=num_processes,
        process_id=process_id,
    )
    model = classifier(dropout)
    training = records(IMAGES)
    tokens = {key: value[:17] for key, value in training.tokens.items()}
    monitored = TokenizedRecords(tokens, training.labels[:17])  # its last batch is filled up
    images = {"train": Tokenized(training), "val": Tokenized(monitored)}
    jax_fitting.CHILD = ("-m", "tests.training.recorded_jax_training")
    with tempfile.TemporaryDirectory() as directory:
        os.environ["LOSSES"] = os.path.join(directory, "losses.json")
        run_dir = os.path.join(directory, "run")
        os.mkdir(run_dir)
        jax_fitting.fit_in_jax(model, images, BATCH_SIZE, options, run_dir)
        with open(os.environ["LOSSES"], encoding="utf-8") as file:
            result = {"losses": json.load(file)}
        written = [name for _, _, names in os.walk(run_dir) for name in names]
        if process_id:
            return {**result, "written": written}
        with open(os.path.join(run_dir, "metrics.jsonl"), encoding="utf-8") as file:
            result["epochs"] = [json.loads(line) for line in file]
    return {
        **result,
        "validation": validate(model.logits, monitored, BATCH_SIZE),
        "probabilities": predict_tokens(model, monitored.tokens, BATCH_SIZE).tolist(),
        "sum": float(sum(np.abs(weight).sum() for weight in model.logits.get_weights())),
    }


def main() -> None:
    num_processes, process_id, port, dropout = sys.argv[1:]
    result = trained_on_jax(int(num_processes), int(process_id), port, float(dropout))
    if process_id == "0" and float(dropout) == 0:
        result["tensorflow"] = device_curves.trained(tf.distribute.get_strategy())["losses"]
    print(json.dumps(result))


if __name__ == "__main__":
    main()
