"""A byte flipped in any file of an unfinished run is noticed, or changes nothing in the result."""

import collections
import contextlib
import dataclasses
import json
import pathlib
import random
import shutil
from unittest import mock

import keras
import numpy as np
import pytest

from covid_lm import pretrain as pretraining
from covid_lm import training_run as training
from covid_lm.errors import InputError
from covid_lm.models.masked_lm import MaskedLanguageModel
from covid_lm.training import fine_tuning
from covid_lm.training.checkpoints import checkpoint_files, resume
from covid_lm.training.run_directory import UNFINISHED, resumed_config, staged_run
from tests.test_pretrain import options as pretraining_options
from tests.training.test_kill import classifier_weights, pretrained_weights
from tests.training.test_resume import options as training_options

pytestmark = pytest.mark.slow
FLIPS, FLIPS_TO_THE_END = 500, 8


class Interrupted(Exception):
    """Ends a run at its last step, when all its files are there."""


interrupt = mock.Mock(side_effect=Interrupted)


class Unfinished:
    """A run of two epochs that was interrupted at its end, and the model to resume it with."""

    def __init__(self, kind: str, image_folder: str, directory: pathlib.Path):
        modules = {"training": fine_tuning, "pre-training": pretraining}
        opened = mock.Mock(side_effect=resume)
        with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Interrupted):
            patch.setattr(modules[kind], "resume", opened)
            if kind == "training":
                self.section, self.results = "run", classifier_weights
                self.options = training_options(image_folder, directory)
                self.complete = training.train
                patch.setattr(training, "export_classifier", interrupt)
            else:
                self.section, self.results = "pretraining", pretrained_weights
                self.options = pretraining_options(image_folder, directory)
                self.complete = pretraining.pretrain
                patch.setattr(MaskedLanguageModel, "save", interrupt)
            self.complete(self.options)
        self.model = opened.call_args.args[1]
        self.model_dir = directory / "run-1"
        staged = self.model_dir / UNFINISHED
        self.run = json.loads((staged / "config.json").read_text())[self.section]
        self.files = [path.relative_to(self.model_dir) for path in sorted(staged.rglob("*.*"))]

    def resumed(self, model_dir: pathlib.Path) -> list[np.ndarray]:
        """The state from which the run in `model_dir` would be continued."""
        with contextlib.suppress(Interrupted), staged_run(str(model_dir), self.section) as staged:
            resumed_config(staged, self.run, self.options, self.section)
            checkpoints, progress = resume(staged, self.model)
            interrupt()
        variables = (*self.model.variables, *self.model.optimizer.variables)
        arrays = [keras.ops.convert_to_numpy(value) for value in variables]
        history = np.frombuffer(repr(progress).encode(), np.uint8)
        return [*arrays, *(checkpoints.best_weights or []), *checkpoints._metrics, history]


@pytest.fixture(scope="module", params=["training", "pre-training"])
def unfinished(request, image_folder, tmp_path_factory) -> Unfinished:
    return Unfinished(request.param, image_folder, tmp_path_factory.mktemp("unfinished"))


def equal(first: list[np.ndarray], second: list[np.ndarray]) -> bool:
    return len(first) == len(second) and all(map(np.array_equal, first, second))


def flipped(unfinished: Unfinished, target: pathlib.Path, generator: random.Random) -> pathlib.Path:
    """Copies the run to `target`, with one byte of one file changed; returns the file's name."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(unfinished.model_dir, target)
    name = generator.choice([n for n in unfinished.files if (target / n).stat().st_size])
    content = bytearray((target / name).read_bytes())
    content[generator.randrange(len(content))] ^= generator.randrange(1, 256)
    (target / name).write_bytes(content)
    return name


def outcomes(unfinished: Unfinished, directory: pathlib.Path, flips: int) -> collections.Counter:
    """How many flips had which outcome; fails on one that was not noticed and changed the state."""
    whole, shorter = (shutil.copytree(unfinished.model_dir, directory / name) for name in "ab")
    pathlib.Path(checkpoint_files(str(shorter / UNFINISHED / "checkpoints"))[-1]).unlink()
    newest, previous = unfinished.resumed(whole), unfinished.resumed(shorter)
    assert not equal(newest, previous)
    generator, counts = random.Random(0), collections.Counter()
    for _ in range(flips):
        name = flipped(unfinished, directory / "c", generator)
        try:
            state = unfinished.resumed(directory / "c")
        except InputError as error:
            counts[f"refused with {len(str(error).splitlines())} line"] += 1
            continue
        assert equal(state, newest) or equal(state, previous), name
        counts["harmless" if equal(state, newest) else "the previous checkpoint is used"] += 1
    return counts


def test_flips(unfinished, tmp_path):
    counts = outcomes(unfinished, tmp_path, FLIPS)
    print(f"{unfinished.section}: {dict(counts)}")
    assert set(counts) == {
        "harmless",
        "the previous checkpoint is used",
        "refused with 1 line",
    }


def test_the_results_of_a_run_with_a_flipped_byte(unfinished, tmp_path):
    """Resumed by the same command, it is refused with one line or ends with the same weights."""
    generator = random.Random(1)
    found = []
    for number in range(FLIPS_TO_THE_END + 1):
        target = tmp_path / str(number) / "run-1"
        if number:
            flipped(unfinished, target, generator)
        else:
            shutil.copytree(unfinished.model_dir, target)
        with contextlib.suppress(InputError):
            options = dataclasses.replace(unfinished.options, output_dir=str(target.parent))
            unfinished.complete(options)
            found.append(unfinished.results(target))
    print(f"{unfinished.section}: {len(found) - 1} of {FLIPS_TO_THE_END} runs were completed")
    expected = found[0]
    for weights in found[1:]:
        assert weights.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(weights[name], values)
