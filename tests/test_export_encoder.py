"""A finished run's encoder, written out and read into the next training."""

import os

import keras
import numpy as np
import pytest

from covid_lm import export
from covid_lm.errors import InputError
from covid_lm.export import write_encoder
from covid_lm.models.pixel_classifier import PixelClassifier
from covid_lm.models.saving import load_classifier
from covid_lm.train import train
from covid_lm.training.build import build_classifier
from covid_lm.training.options import TrainingOptions


@pytest.fixture(scope="module")
def finished(image_folder, tmp_path_factory) -> tuple[str, TrainingOptions]:
    options = TrainingOptions(
        dataset="folder",
        data_dir=image_folder,
        backbone="1x64",
        epochs=1,
        batch_size=8,
        learning_rate=1e-3,
        output_dir=str(tmp_path_factory.mktemp("saved_models")),
        name="first",
    )
    return train(options).model_dir, options


def test_the_next_training_begins_with_these_weights(finished):
    model_dir, options = finished
    directory = os.path.join(model_dir, "weights")
    write_encoder(model_dir, directory)
    write_encoder(model_dir, directory)  # and replaces what it wrote
    assert sorted(os.listdir(directory)) == ["config.json", "model.safetensors", "vocab.txt"]
    trained = load_classifier(os.path.join(model_dir, "run"))
    keras.utils.set_random_seed(7)
    again = {**vars(options), "weights": directory, "name": "second"}
    following = build_classifier(TrainingOptions(**again), ("a", "b", "c"))
    ours, theirs = (
        {variable.path: keras.ops.convert_to_numpy(variable) for variable in model.backbone.weights}
        for model in (following, trained)
    )
    names = [name for name in ours if "pooled_dense" not in name]
    assert len(names) > 10
    for name in names:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)
    assert following.vocabulary == trained.vocabulary


def test_what_has_no_encoder_or_is_in_the_way(finished, tmp_path, monkeypatch):
    model_dir, _ = finished
    with pytest.raises(InputError, match=r"absent/run: no finished run"):
        write_encoder("absent", str(tmp_path / "weights"))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"^--encoder=.*: is there and holds no model; give ano"):
        write_encoder(model_dir, str(tmp_path))
    assert (tmp_path / "notes.txt").read_text() == "mine"
    monkeypatch.setattr(export, "load_classifier", lambda _: PixelClassifier)
    with pytest.raises(InputError, match=r"^--run=.*: has no single encoder; give a run of one BE"):
        write_encoder(model_dir, str(tmp_path / "weights"))
