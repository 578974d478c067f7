"""A finished run's encoder: exported, and loaded into the next training."""

import os

import keras
import numpy as np
import pytest

from covid_lm import export
from covid_lm.errors import InputError
from covid_lm.export import write_encoder
from covid_lm.models.pixel_classifier import PixelClassifier
from covid_lm.models.saving import load_classifier
from covid_lm.training.build import build_classifier
from covid_lm.training.options import TrainingOptions


@pytest.fixture(scope="module")
def model_dir(older_runs) -> str:
    return str(older_runs / "run")


def test_the_next_training_begins_with_these_weights(model_dir, tmp_path):
    directory = str(tmp_path / "weights")
    write_encoder(model_dir, directory)
    write_encoder(model_dir, directory)  # replaces the first one
    assert sorted(os.listdir(directory)) == ["config.json", "model.safetensors", "vocab.txt"]
    trained = load_classifier(os.path.join(model_dir, "run"))
    keras.utils.set_random_seed(7)
    options = TrainingOptions(backbone="1x64", weights=directory)
    following = build_classifier(options, ("a", "b", "c"))
    ours, theirs = (
        {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.backbone.weights}
        for model in (following, trained)
    )
    names = [name for name in ours if "pooled_dense" not in name]
    assert len(names) > 10
    for name in names:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert following.vocabulary == trained.vocabulary


def test_runs_without_an_encoder_and_directories_of_other_files(model_dir, tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"absent/run: no finished run"):
        write_encoder("absent", str(tmp_path / "weights"))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"^--encoder=.*: holds other files; give another dir"):
        write_encoder(model_dir, str(tmp_path))
    assert (tmp_path / "notes.txt").read_text() == "mine"
    monkeypatch.setattr(export, "load_classifier", lambda _: PixelClassifier)
    with pytest.raises(InputError, match=r"^--run=.*: its network has no encoder; give a run"):
        write_encoder(model_dir, str(tmp_path / "weights"))
