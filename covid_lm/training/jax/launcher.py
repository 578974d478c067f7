"""Training on Keras' JAX backend, started from a process that runs TensorFlow.

A process has one Keras backend, so JAX trains in a child process (`jax_worker`). It gets token ids
and the initial state as files and writes checkpoints, from which the TensorFlow model is restored
for evaluation and export. With several hosts, each has a parent and a child process, and the
children train together.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile

import numpy as np

from covid_lm.environment import child_environment, without_startup_lines
from covid_lm.errors import InputError, RunError
from covid_lm.files import is_remote, write_json
from covid_lm.models.classifier import Classifier
from covid_lm.models.token_classifier import TokenClassifierConfig
from covid_lm.pipeline.decoded import DecodedRecords
from covid_lm.pipeline.tokenized import TokenizedRecords
from covid_lm.training.checkpoints import Checkpoints, resume
from covid_lm.training.inputs import tokenized_splits
from covid_lm.training.optimizer import compile_for_training
from covid_lm.training.options import TrainingOptions

CHILD = ("-m", "covid_lm.training.jax.jax_worker")
KINDS = {error.exit_status: error for error in (InputError, RunError)}


@dataclasses.dataclass(frozen=True)
class JaxJob:
    """Settings of a child process.

    Attributes:
        batch_size: of all processes together.
        run_dir: in which process 0 writes checkpoints and the log.
    """

    classifier: TokenClassifierConfig
    options: TrainingOptions
    batch_size: int
    run_dir: str

    def write(self, directory: str, splits: dict[str, TokenizedRecords]) -> None:
        """Writes the job and its token ids."""
        write_json(os.path.join(directory, "job.json"), dataclasses.asdict(self))
        for name, split in splits.items():
            path = os.path.join(directory, f"{name}.npz")
            np.savez(path, allow_pickle=False, labels=split.labels, **split.tokens)

    @classmethod
    def read(cls, directory: str) -> tuple["JaxJob", dict[str, TokenizedRecords]]:
        """Reads what `write` wrote; the splits give this process's share of every batch."""
        with open(os.path.join(directory, "job.json"), encoding="utf-8") as file:
            values = json.load(file)
        values["classifier"] = TokenClassifierConfig.from_dict(values["classifier"])
        values["options"] = TrainingOptions(**values["options"])
        job, splits = cls(**values), {}
        for name in ("training", "monitored"):
            path = os.path.join(directory, f"{name}.npz")
            if os.path.exists(path):
                with np.load(path) as stored:
                    tokens = {**stored}
                labels = tokens.pop("labels")
                share = job.options.process_id, job.options.num_processes
                splits[name] = TokenizedRecords(tokens, labels, *share)
        return job, splits


def fit_in_jax(
    classifier: Classifier,
    images: dict[str, DecodedRecords],
    batch_size: int,
    options: TrainingOptions,
    run_dir: str,
) -> None:
    """Trains as `fit_classifier` does, but on JAX, together with the other processes, if any.

    An interrupted run resumes after its last finished epoch: nothing is saved within an epoch. In
    a process other than 0 the classifier does not change, and `run_dir` stays empty.

    Raises:
        InputError: the batch can't be divided among the devices, or the processes have different
            flags or data.
        RunError: the loss became non-finite, or a process ended.
    """
    assert classifier.reads_tokens  # checked by the options
    model = classifier.logits
    training, monitored = tokenized_splits(classifier, images, options)
    assert isinstance(training, TokenizedRecords)  # the options allow no augmentation on JAX
    splits = {"training": training}
    if monitored is not None:
        splits["monitored"] = monitored
    compile_for_training(model, options, training.steps(batch_size))
    checkpoints, progress = resume(run_dir, model)
    absolute = run_dir if is_remote(run_dir) else os.path.abspath(run_dir)
    job = JaxJob(classifier.config, options, batch_size, absolute)
    with tempfile.TemporaryDirectory() as directory:
        job.write(directory, splits)
        start = Checkpoints(os.path.join(directory, "start"), model)
        start.best_weights = checkpoints.best_weights
        start.save(progress)
        _run_child(directory)
    checkpoints.restore()
    checkpoints.set_final_weights()


def _run_child(directory: str) -> None:
    """Runs `jax_worker` in a process that ends with this one, even if this one is killed."""
    command = [sys.executable, *CHILD, directory]
    env = child_environment("jax")
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=errors, env=env) as child:
            try:
                status = child.wait()
            finally:
                child.kill()  # has no effect if it has ended
        errors.seek(0)
        output = without_startup_lines(errors.read())
    if not status:
        return
    message = re.search(r"^\S+\.py: (.+)\s*\Z", output, re.MULTILINE)
    if status in KINDS and message:
        raise KINDS[status](message[1])
    print(output, file=sys.stderr)
    raise RunError(f"training on JAX ended with status {status}; see above")
