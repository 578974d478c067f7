"""The job of JAX's child process, and options that are refused before it starts."""

import numpy as np
import pytest

from covid_lm.backbones.configs import BackboneConfig
from covid_lm.data.records import ImageRecord
from covid_lm.errors import InputError, RunError
from covid_lm.models.token_classifier import TokenClassifierConfig
from covid_lm.pipeline.augmented import AugmentedRecords, training_input
from covid_lm.pipeline.decoded import DecodedRecords, decode_records
from covid_lm.pipeline.pixel_cache import PixelCache
from covid_lm.pipeline.tokenized import TokenizedRecords
from covid_lm.training.batch_size import global_batch_size
from covid_lm.training.build import build_classifier
from covid_lm.training.inputs import training_set
from covid_lm.training.jax.launcher import JaxJob, _run_child
from covid_lm.training.options import TrainingOptions
from tests.conftest import encode, random_picture


@pytest.fixture(autouse=True)
def jax_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)


def test_a_job_is_read_as_it_was_written(tmp_path):
    config = TokenClassifierConfig(("a", "b"), "1x64", BackboneConfig(1, 64, 1, 256))
    options = TrainingOptions(backend="jax", num_processes=2, coordinator="host:1", seed=5)
    job = JaxJob(config, ("[PAD]", "b"), options, 8, "/run")
    tokens = {"token_ids": np.arange(6, dtype=np.int32).reshape(2, 3)}
    splits = {"training": TokenizedRecords(tokens, np.array([1, 0], np.int32))}
    job.write(str(tmp_path), splits)
    again, arrays = JaxJob.read(str(tmp_path))
    assert again == job
    assert list(arrays) == ["training"]
    found = again.source(None, arrays["training"])
    np.testing.assert_array_equal(found.tokens["token_ids"], tokens["token_ids"])
    assert found.labels.tolist() == [1, 0]
    assert found.labels.dtype == np.int32
    assert (found.process_id, found.num_processes) == (0, 2)


@pytest.mark.parametrize("weights", ["none", None, "shipped"])
def test_a_child_starts_from_the_weights_of_its_parent(tmp_path, weights):
    layout = {"layout": "patches32x4rgb", "backbone": "6x128"}  # which has weights in the package
    options = TrainingOptions(backend="jax", weights=weights, **layout)
    config = TokenClassifierConfig(("a", "b"), "6x128", BackboneConfig(1, 64, 1, 256))
    JaxJob(config, ("[PAD]", "b"), options, 8, "/run").write(str(tmp_path), {})
    again, _ = JaxJob.read(str(tmp_path))
    assert again.options == options
    assert again.options.weights == (None if weights == "none" else "shipped")


def test_a_child_augments_as_its_parent_would(tmp_path):
    layout = {"layout": "patches16x8", "protocol": "paper"}
    options = TrainingOptions(backend="jax", backbone="1x64", augment="heavy", seed=5, **layout)
    classifier = build_classifier(options, ("a", "b"))
    pixels = np.random.default_rng(0).integers(0, 256, (3, 96, 96, 1), np.uint8)
    names = ("a.png", "b\udcff.png", "c d.png")
    records = tuple(ImageRecord(name, i % 2, "train", name, bytes) for i, name in enumerate(names))
    training = training_set(classifier, DecodedRecords(pixels, records), options)
    job = JaxJob(classifier.config, classifier.vocabulary, options, 2, "/run")
    job.write(str(tmp_path), {"training": training})
    again, arrays = JaxJob.read(str(tmp_path))
    found = again.source(classifier, arrays["training"])
    for one, other in zip(
        training.epochs(2, 5, range(1, 2)), found.epochs(2, 5, range(1, 2)), strict=True
    ):
        np.testing.assert_array_equal(one[0]["token_ids"], other[0]["token_ids"])
        np.testing.assert_array_equal(one[1], other[1])


@pytest.mark.parametrize("name", ["training", "monitored"])
def test_a_child_reads_pixels_from_the_cache(tmp_path, name):
    options = TrainingOptions(backend="jax", backbone="1x64", layout="patches16x8", augment="light")
    classifier = build_classifier(options, ("a", "b"))
    file = encode(random_picture(20, 30, 1))
    records = [ImageRecord(f"{i}.png", i % 2, "train", f"{i}.png", lambda: file) for i in range(5)]
    image_input = training_input("light", classifier.preprocessor())
    cache = PixelCache(str(tmp_path / "cache"))
    if name == "training":
        images = decode_records(records, image_input, cache=cache)
        source = training_set(classifier, images, options)
    else:
        images = decode_records(records, classifier.preprocessor().image_input, cache=cache)
        source = AugmentedRecords(images, classifier.preprocessor())
    job = JaxJob(classifier.config, classifier.vocabulary, options, 2, "/run")
    job.write(str(tmp_path), {name: source})
    again, arrays = JaxJob.read(str(tmp_path))
    assert "pixels" not in arrays[name]
    found = again.source(classifier, arrays[name])
    for one, other in zip(
        source.epochs(2, 5, range(1, 2)), found.epochs(2, 5, range(1, 2)), strict=True
    ):
        np.testing.assert_array_equal(one[0]["token_ids"], other[0]["token_ids"])
        np.testing.assert_array_equal(one[1], other[1])


TWO = {"backend": "jax", "num_processes": 2, "coordinator": "host:1234"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backend": "torch"}, "KERAS_BACKEND=torch: choose tensorflow or jax"),
        (
            {"num_processes": 2, "coordinator": "host:1234"},
            "--num_processes=2: only with KERAS_BACKEND=jax; TensorFlow trains on one machine",
        ),
        ({"num_processes": 0}, "--num_processes=0: must be at least 1"),
        (
            {**TWO, "process_id": 2},
            "--process_id=2: must be from 0 to 1, below --num_processes",
        ),
        ({"process_id": 1}, "--process_id=1: must be from 0 to 0, below --num_processes"),
        (
            {**TWO, "coordinator": "host"},
            "--num_processes=2: needs --coordinator=HOST:PORT, where process 0 can listen",
        ),
        (
            {"backend": "jax", "tpu": "local"},
            "--tpu=local: not with KERAS_BACKEND=jax, which takes all devices of its machine",
        ),
        (
            {"backend": "jax", "backbone": "resnet50"},
            "--backbone=resnet50: not with KERAS_BACKEND=jax",
        ),
        (
            {**TWO, "backend": "jax", "mix": "mixup", "protocol": "fixed"},
            "--mix=mixup: not with --num_processes=2",
        ),
        ({"backend": "jax", "tensorboard": True}, "--tensorboard: not with KERAS_BACKEND=jax"),
    ],
)
def test_unusable_options(changes, message):
    with pytest.raises(InputError) as error:
        TrainingOptions(**changes)
    assert str(error.value) == message


def test_jax_is_an_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError) as error:
        TrainingOptions(backend="jax")
    assert str(error.value) == "KERAS_BACKEND=jax: needs pip install 'covid_lm[jax]'"


def test_processes_have_equal_shares():
    assert global_batch_size(TrainingOptions(**TWO), 240) == 8
    with pytest.raises(InputError) as error:
        global_batch_size(TrainingOptions(**TWO, batch_size=7), 240)
    assert str(error.value) == "--batch_size=7: must be a multiple of 2, the number of processes"


def test_the_command_names_no_host():
    assert TrainingOptions(**TWO, seed=3).command == (
        "KERAS_BACKEND=jax python tools/train.py --coordinator=HOST:PORT --num_processes=2 "
        "--seed=3 --process_id=I"
    )


@pytest.mark.parametrize(
    ("script", "kind", "message"),
    [
        ("print('x.py: one: two', file=sys.stderr); sys.exit(2)", InputError, "one: two"),
        ("print('x.py: three', file=sys.stderr); sys.exit(1)", RunError, "three"),
        ("raise KeyError", RunError, "training on JAX ended with status 1; see above"),
        ("sys.exit(7)", RunError, "training on JAX ended with status 7; see above"),
    ],
)
def test_an_error_of_the_child_is_raised_in_the_parent(monkeypatch, script, kind, message):
    monkeypatch.setattr("covid_lm.training.jax.launcher.CHILD", ("-c", f"import sys; {script}"))
    with pytest.raises(kind) as error:
        _run_child("unused")
    assert str(error.value) == message
