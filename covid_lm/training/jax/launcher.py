"""The optimization on Keras' JAX backend, asked for from TensorFlow's side.

A process has one Keras backend, so JAX trains in a child process (`jax_training`): token ids and
the state to begin with go there as files, and a checkpoint comes back, from which the TensorFlow
model goes on to evaluation and export. With several processes every one has such a child, on a
host of its own, and the children train as one.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile

import numpy as np

from covid_lm.environment import child_environment
from covid_lm.errors import InputError, RunError
from covid_lm.files import write_json
from covid_lm.models.classifier import Classifier
from covid_lm.models.token_classifier import TokenClassifierConfig
from covid_lm.pipeline.decoded import DecodedRecords, TokenizedRecords
from covid_lm.training.checkpoints import Checkpoints
from covid_lm.training.inputs import tokenized_splits
from covid_lm.training.loop import compile_for_run
from covid_lm.training.options import TrainingOptions

CHILD = ("-m", "covid_lm.training.jax.jax_worker")
KINDS = {error.exit_status: error for error in (InputError, RunError)}


@dataclasses.dataclass(frozen=True)
class JaxJob:
    """What a child is told, besides the arrays in its directory.

    Attributes:
        batch_size: of all processes together.
        run_dir: where process 0 keeps checkpoints and the log.
    """

    classifier: TokenClassifierConfig
    batch_size: int
    epochs: int
    learning_rate: float
    schedule: str
    weight_decay: float
    label_smoothing: float
    seed: int
    coordinator: str | None
    num_processes: int
    process_id: int
    run_dir: str

    def write(self, directory: str, splits: dict[str, TokenizedRecords]) -> None:
        """Writes the job and its token ids."""
        write_json(os.path.join(directory, "job.json"), dataclasses.asdict(self))
        for name, split in splits.items():
            path = os.path.join(directory, f"{name}.npz")
            np.savez(path, allow_pickle=False, labels=split.labels, **split.tokens)

    @classmethod
    def read(cls, directory: str) -> tuple["JaxJob", dict[str, TokenizedRecords]]:
        """What `write` wrote."""
        with open(os.path.join(directory, "job.json"), encoding="utf-8") as file:
            values = json.load(file)
        values["classifier"] = TokenClassifierConfig.from_dict(values["classifier"])
        splits = {}
        for name in ("training", "monitored"):
            path = os.path.join(directory, f"{name}.npz")
            if os.path.exists(path):
                with np.load(path) as arrays:
                    tokens = {key: arrays[key] for key in arrays.files if key != "labels"}
                    splits[name] = TokenizedRecords(tokens, arrays["labels"])
        return cls(**values), splits


def fit_in_jax(
    classifier: Classifier,
    images: dict[str, DecodedRecords],
    batch_size: int,
    options: TrainingOptions,
    run_dir: str,
) -> None:
    """As `fitting.fit`, on JAX, together with the other processes if there are any.

    A run that was broken off goes on after its last whole epoch: within one, nothing is saved.
    In a process other than 0 the classifier stays as it is, and `run_dir` empty.

    Raises:
        InputError: the batch can't be divided among the devices, or the processes were told, or
            have read, different things.
        RunError: the loss became non-finite, or a process was lost.
    """
    assert classifier.reads_tokens  # the options see to it
    model = classifier.logits
    training, monitored = tokenized_splits(classifier, images, options)
    assert isinstance(training, TokenizedRecords)  # the options see to it
    splits = {"training": training}
    if monitored is not None:
        splits["monitored"] = monitored
    compile_for_run(model, options, training.steps(batch_size))
    checkpoints = Checkpoints(os.path.join(run_dir, "checkpoints"), model)
    progress = checkpoints.restore()
    if progress.epoch:
        print(f"resumed after epoch {progress.epoch}", flush=True)
    job = JaxJob(
        classifier=classifier.config,
        batch_size=batch_size,
        epochs=options.epochs,
        learning_rate=options.learning_rate,
        schedule=options.schedule,
        weight_decay=options.weight_decay,
        label_smoothing=options.label_smoothing,
        seed=options.seed,
        coordinator=options.coordinator,
        num_processes=options.num_processes,
        process_id=options.process_id,
        run_dir=os.path.abspath(run_dir) if "://" not in run_dir else run_dir,
    )
    with tempfile.TemporaryDirectory() as directory:
        job.write(directory, splits)
        start = Checkpoints(os.path.join(directory, "start"), model)
        start.best_weights = checkpoints.best_weights
        start.save(progress)
        _run_child(directory)
    checkpoints.restore()
    if checkpoints.best_weights is not None:
        model.set_weights(checkpoints.best_weights)


def _run_child(directory: str) -> None:
    """Runs `jax_training` in a process that ends with this one, whatever ends it."""
    command = [sys.executable, *CHILD, directory]
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=errors, env=child_environment("jax"), text=True
        )
        try:
            status = child.wait()
        finally:
            child.kill()  # of no effect on one that has ended
            if child.stdin is not None:
                child.stdin.close()
        errors.seek(0)
        said = errors.read()
    if not status:
        return
    message = re.search(r"^\S+\.py: (.+)\s*\Z", said, re.MULTILINE)
    if status in KINDS and message:
        raise KINDS[status](message[1])
    print(said, file=sys.stderr)
    raise RunError(f"training on JAX ended with status {status}; see above")
