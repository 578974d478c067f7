"""A run's classifier, read again: by its kind, from older configs, and refused with one line."""

import dataclasses
import json
import pathlib

import h5py
import numpy as np
import pytest

from covid_lm.errors import InputError
from covid_lm.models import saving
from covid_lm.models.pixel_classifier import PixelClassifierConfig
from covid_lm.models.saving import load_classifier, save_config, save_weights
from covid_lm.models.token_classifier import TokenClassifier
from tests.serving.tiny_model import tiny_classifier


def save(classifier, directory, change=None) -> str:
    """Saves a classifier, with its section of `config.json` changed in place by `change`."""
    save_config(classifier, str(directory), {})
    save_weights(classifier, str(directory))
    if change is not None:
        path = directory / "config.json"
        config = json.loads(path.read_text())
        change(config["classifier"])
        path.write_text(json.dumps(config))
    return str(directory)


@pytest.fixture(scope="module")
def classifier() -> TokenClassifier:
    return tiny_classifier("fixed", "gray22")


def older(values: dict) -> None:
    """The section as versions up to aca75e6 wrote it."""
    del values["kind"]
    values.update(reading="decimal", views=1)


@pytest.mark.parametrize("change", [None, older], ids=["now", "older"])
def test_a_token_classifier_is_read_again(classifier, tmp_path, change):
    loaded = load_classifier(save(classifier, tmp_path, change))
    assert loaded.config == classifier.config
    for ours, theirs in zip(
        loaded.logits.get_weights(), classifier.logits.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("section", [{"kind": "pixel"}, {"views": 1}], ids=["now", "older"])
def test_a_pixel_classifier_is_recognized(tmp_path, monkeypatch, section):
    config = PixelClassifierConfig(("a", "b"), "resnet50", 32)

    class Untrained:
        """Holds the config that it was given, without the network."""

        def __init__(self, config):
            self.config, self.logits, self.variables = config, self, []

        def load_weights(self, path):
            assert path.endswith("best.weights.h5")

    monkeypatch.setattr(saving, "PixelClassifier", Untrained)
    (tmp_path / "checkpoints").mkdir()
    h5py.File(tmp_path / "checkpoints" / "best.weights.h5", "w").close()
    (tmp_path / "config.json").write_text(
        json.dumps({"classifier": {**dataclasses.asdict(config), **section}, "run": {}})
    )
    loaded = load_classifier(str(tmp_path))
    assert isinstance(loaded, Untrained)
    assert loaded.config == config


@pytest.mark.parametrize(
    ("key", "value"),
    [("views", 2), ("reading", "latin1"), ("layout", "levels32"), ("layout", "hilbert16")],
)
def test_a_run_with_a_removed_option_names_the_commit_that_reads_it(
    classifier, tmp_path, key, value
):
    directory = save(classifier, tmp_path, lambda values: values.update({key: value}))
    with pytest.raises(InputError) as error:
        load_classifier(directory)
    assert str(error.value) == (
        f"{directory}: a run with {key} {value}, which this version no longer reads; "
        "use commit aca75e6"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_layers", 10**9),
        ("hidden_dim", 2**40),
        ("max_sequence_length", 10**12),
        ("vocabulary_size", 10**9),
        ("intermediate_dim", "256"),
        ("num_heads", True),
        ("num_layers", None),
    ],
)
def test_a_damaged_size_is_refused_before_it_takes_memory(classifier, tmp_path, field, value):
    directory = save(classifier, tmp_path, lambda v: v["backbone"].update({field: value}))
    with pytest.raises(InputError, match=r"^\S+config.json: damaged \(sizes \[[^\n]+\]"):
        load_classifier(directory)


@pytest.mark.parametrize(
    "config",
    [
        "[]",
        '{"classifier": []}',
        '{"classifier": {"classes": 5}}',
        "[" * 10**5,
        '{"classifier": ' + "9" * 5000 + "}",
        '{"classifier": {"kind": "pixel", "image_size": "x"}}',
    ],
)
def test_a_damaged_config_is_one_line(classifier, tmp_path, config):
    directory = save(classifier, tmp_path)
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(InputError, match=r"^\S+config.json: damaged[^\n]+$"):
        load_classifier(directory)


def test_no_damaged_weights_are_loaded(classifier, tmp_path):
    path = pathlib.Path(save(classifier, tmp_path)) / "checkpoints" / "best.weights.h5"
    content = path.read_bytes()
    for position in (0, 2000, len(content) // 2, len(content) - 1, len(content) - 70):
        damaged = bytearray(content)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(InputError) as error:
            load_classifier(str(tmp_path))
        assert str(error.value) == f"{path}: its SHA-256 digest is missing or differs"
    path.write_bytes(content[:-1] + b"`")  # a digest, although no number any more
    with pytest.raises(InputError, match=r"SHA-256 digest is missing or differs$"):
        load_classifier(str(tmp_path))
    path.write_bytes(content[:-64])  # as older versions wrote it
    loaded = load_classifier(str(tmp_path)).logits.get_weights()
    for ours, theirs in zip(loaded, classifier.logits.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_other_configs_are_refused(classifier, tmp_path):
    directory = save(classifier, tmp_path, lambda values: values.update(kind="sound"))
    with pytest.raises(InputError, match=r"config.json: damaged \(kind 'sound'\)$"):
        load_classifier(directory)
    directory = save(classifier, tmp_path, lambda values: values.update(members=[]))
    with pytest.raises(InputError, match=r"^\S+: an average of runs, which this version no longer"):
        load_classifier(directory)
    with pytest.raises(InputError, match=r"no finished run \(no config.json in it\)"):
        load_classifier(str(tmp_path / "absent"))
