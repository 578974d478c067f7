"""Training on Keras' JAX backend, started from a process that runs TensorFlow.

A process has one Keras backend, so JAX trains in a child process (`jax_worker`). It gets token ids,
or the place of pixels in the cache, and the initial state as files and writes checkpoints, from
which the TensorFlow model is restored for evaluation and export. With several hosts, each has a
parent and a child process, and the children train together.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping

import numpy as np

from covid_lm.data.records import ImageRecord
from covid_lm.environment import child_environment, without_startup_lines
from covid_lm.errors import InputError, RunError
from covid_lm.files import is_remote, write_json
from covid_lm.models.classifier import Classifier
from covid_lm.models.token_classifier import TokenClassifier, TokenClassifierConfig
from covid_lm.pipeline.augmented import AugmentedRecords
from covid_lm.pipeline.decoded import DecodedRecords
from covid_lm.pipeline.pixel_cache import stored_arrays, stored_pixels
from covid_lm.pipeline.tokenized import Batches, TokenizedRecords
from covid_lm.training.checkpoints import Checkpoints, resume
from covid_lm.training.inputs import tokenized_splits, training_set
from covid_lm.training.optimizer import compile_for_training
from covid_lm.training.options import TrainingOptions

CHILD = ("-m", "covid_lm.training.jax.jax_worker")
KINDS = {error.exit_status: error for error in (InputError, RunError)}


@dataclasses.dataclass(frozen=True)
class JaxJob:
    """Settings of a child process.

    Attributes:
        vocabulary: words, index = id.
        batch_size: of all processes together.
        run_dir: in which process 0 writes checkpoints and the log.
    """

    classifier: TokenClassifierConfig
    vocabulary: tuple[str, ...]
    options: TrainingOptions
    batch_size: int
    run_dir: str

    def write(self, directory: str, splits: Mapping[str, Batches]) -> None:
        """Writes the job and the arrays of its splits, "training" and, if any, "monitored"."""
        values = {**dataclasses.asdict(self), "options": self.options.to_dict()}
        write_json(os.path.join(directory, "job.json"), values)
        for name, split in splits.items():
            if isinstance(split, AugmentedRecords):
                names = np.array(list(split.images.filenames), np.bytes_)
                arrays = {"labels": split.labels, "filenames": names}
                arrays |= stored_arrays(split.images.pixels)
                if not split.has_changes:
                    arrays["policy"] = np.array(split.preprocessor.file_name_input.policy)
            else:
                assert isinstance(split, TokenizedRecords)
                arrays = {"labels": split.labels, **split.tokens}
            np.savez(os.path.join(directory, f"{name}.npz"), allow_pickle=False, **arrays)

    @classmethod
    def read(cls, directory: str) -> tuple["JaxJob", dict[str, dict[str, np.ndarray]]]:
        """Reads what `write` wrote: the job, and the arrays of each split by name."""
        with open(os.path.join(directory, "job.json"), encoding="utf-8") as file:
            values = json.load(file)  # a vocabulary may be larger than a config
        values["classifier"] = TokenClassifierConfig.from_dict(values["classifier"])
        values["vocabulary"] = tuple(values["vocabulary"])
        values["options"] = TrainingOptions(**values["options"])
        arrays = {}
        for name in ("training", "monitored"):
            path = os.path.join(directory, f"{name}.npz")
            if os.path.exists(path):
                with np.load(path) as stored:
                    arrays[name] = {**stored}
        return cls(**values), arrays

    def source(self, classifier: TokenClassifier, arrays: dict[str, np.ndarray]) -> Batches:
        """The batches of a split; without random changes, this process's share of each."""
        arrays = dict(arrays)
        labels = arrays.pop("labels")
        share = self.options.process_id, self.options.num_processes
        pixels = stored_pixels(arrays)
        if pixels is None:
            return TokenizedRecords(arrays, labels, *share)
        names = [name.decode("utf-8", "surrogateescape") for name in arrays["filenames"]]
        records = tuple(
            ImageRecord(name, int(label), "train", name, bytes)
            for name, label in zip(names, labels, strict=True)
        )
        images = DecodedRecords(pixels, records)
        if "policy" not in arrays:
            return training_set(classifier, images, self.options)
        preprocessor = classifier.preprocessor(str(arrays["policy"]))
        return AugmentedRecords(images, preprocessor, None, None, *share)


def fit_in_jax(
    classifier: Classifier,
    images: dict[str, DecodedRecords],
    batch_size: int,
    options: TrainingOptions,
    run_dir: str,
) -> None:
    """Trains as `fit_classifier` does, but on JAX, together with the other processes, if any.

    An interrupted run resumes after its last saved epoch: nothing is saved within an epoch. In
    a process other than 0 the classifier does not change, and `run_dir` stays empty.

    Raises:
        InputError: the batch can't be divided among the devices, or the processes have different
            flags or data.
        RunError: the loss became non-finite, or a process ended.
    """
    assert isinstance(classifier, TokenClassifier)  # checked by the options
    model = classifier.logits
    training, monitored = tokenized_splits(classifier, images, options)
    splits = {"training": training}
    if monitored is not None:
        splits["monitored"] = monitored
    compile_for_training(model, options, training.steps(batch_size))
    checkpoints, progress = resume(run_dir, model)
    absolute = run_dir if is_remote(run_dir) else os.path.abspath(run_dir)
    job = JaxJob(classifier.config, classifier.vocabulary, options, batch_size, absolute)
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
