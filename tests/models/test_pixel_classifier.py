"""Convolutional classifiers: trained, evaluated, exported, loaded, and refused."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from covid_lm.backbones import convolutional
from covid_lm.data.folder import folder
from covid_lm.errors import InputError
from covid_lm.models.pixel_classifier import (
    PixelClassifier,
    PixelClassifierConfig,
    PixelPreprocessor,
)
from covid_lm.models.saving import load_classifier
from covid_lm.pipeline.decoded import decode_records
from covid_lm.training.build import build_classifier
from covid_lm.training.options import TrainingOptions
from covid_lm.training_run import train
from tests.conftest import encode, random_picture

CLASSES = ("bright", "dark")
RESNET50 = convolutional._NETWORKS["resnet50"]


def small_network(include_top, weights, input_shape, pooling) -> keras.Model:
    """A network with two layers, with the arguments of `keras.applications`."""
    assert (include_top, weights, pooling) == (False, None, "avg")
    inputs = keras.Input(input_shape)
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(16, 8, strides=8)(inputs))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(keras.ops.relu(x)))


@pytest.fixture(scope="module", params=["small", pytest.param("real", marks=pytest.mark.slow)])
def finished(request, image_folder, tmp_path_factory):
    """A run of ResNet50, or of a small network in its place."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "small":
            small = small_network, RESNET50[1]
            patch.setitem(convolutional._NETWORKS, "resnet50", small)
        yield _train(image_folder, tmp_path_factory)


def _train(image_folder, tmp_path_factory):
    return train(
        TrainingOptions(
            dataset="folder",
            data_dir=image_folder,
            backbone="resnet50",
            protocol="absent",
            image_size=32,
            epochs=1,
            batch_size=8,
            output_dir=str(tmp_path_factory.mktemp("saved_models")),
        )
    )


def test_a_run_has_one_row_and_a_faithful_export(finished):
    assert finished.model_dir.endswith("folder-resnet50-absent-32")
    assert list(finished.metrics["protocols"]) == ["absent"]
    assert finished.metrics["protocols"]["absent"]["n"] == 10
    assert finished.export_difference < 1e-4
    assert not os.path.exists(os.path.join(finished.model_dir, "run", "vocab.txt"))


def test_the_export_answers_as_the_live_model_image_by_image(finished, image_folder):
    classifier = load_classifier(os.path.join(finished.model_dir, "run"))
    images = decode_records(
        folder(image_folder).split("test"), classifier.preprocessor().image_input
    )
    live = classifier.core.predict({"pixels": images.pixels[:]}, verbose=0)
    model = tf.saved_model.load(finished.version_dir)
    assert sorted(model.signatures) == ["classify", "embed", "serving_default"]
    encoded = [record.read() for record in images.records]
    together = model.signatures["serving_default"](image_bytes=tf.constant([*encoded, b"no image"]))
    np.testing.assert_allclose(together["probabilities"][:-1], live, atol=1e-5)
    assert together["valid"].numpy().tolist() == [True] * 10 + [False]
    assert not together["probabilities"][-1].numpy().any()
    alone = model.signatures["serving_default"](image_bytes=tf.constant(encoded[:1]))
    np.testing.assert_allclose(
        alone["probabilities"][0], together["probabilities"][0], atol=1e-6, rtol=0
    )
    embedding = model.signatures["embed"](image_bytes=tf.constant(encoded[:2]))["embedding"]
    np.testing.assert_allclose(
        embedding, classifier.embedding({"pixels": images.pixels[:2]}), rtol=1e-4, atol=1e-5
    )


def test_the_preprocessor_is_the_token_classifiers_input_layer():
    preprocessor = PixelPreprocessor(32)
    picture = random_picture(32, 32)
    assert len({picture[..., channel].tobytes() for channel in range(3)}) == 3
    encoded = tf.constant([encode(picture), b"no image"])
    (mapped,) = tf.data.Dataset.from_tensors(encoded).map(preprocessor)
    for inputs in (preprocessor(encoded), mapped):
        np.testing.assert_array_equal(inputs["pixels"][0], picture)
        assert inputs["valid"].numpy().tolist() == [True, False]
    again = PixelPreprocessor.from_config(preprocessor.get_config())
    assert again.get_config() == preprocessor.get_config()


@pytest.mark.parametrize(
    "constructor", [small_network, pytest.param(RESNET50[0], marks=pytest.mark.slow)]
)
def test_weights_of_a_file(constructor, tmp_path, monkeypatch):
    monkeypatch.setitem(convolutional._NETWORKS, "resnet50", (constructor, RESNET50[1]))
    keras.utils.set_random_seed(0)
    source = constructor(include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg")
    path = str(tmp_path / "resnet50_notop.weights.h5")
    source.save_weights(path)
    options = TrainingOptions(backbone="resnet50", protocol="absent", image_size=32, weights=path)
    classifier = build_classifier(options, CLASSES)
    (network,) = (part for part in classifier.logits.layers if isinstance(part, keras.Model))
    for found, expected in zip(network.weights, source.weights, strict=True):
        np.testing.assert_array_equal(found, expected)
    pixels = random_picture(32, 32)[None]
    expected = source(RESNET50[1](pixels.astype("float32")))
    np.testing.assert_allclose(classifier.embedding({"pixels": pixels}), expected, rtol=1e-4)


def test_unusable_weights(tmp_path, monkeypatch):
    monkeypatch.setitem(convolutional._NETWORKS, "resnet50", RESNET50)
    absent = str(tmp_path / "none.h5")
    wrong = tmp_path / "wrong.h5"
    wrong.write_bytes(b"not HDF5")
    config = PixelClassifierConfig(CLASSES, "resnet50", 32)
    for path, message in (
        (absent, f"--weights={absent}: no such file; resnet50 takes one HDF5 file"),
        (str(wrong), f"--weights={wrong}: not resnet50 without its top ("),
    ):
        with pytest.raises(InputError) as error:
            PixelClassifier(config, weights=path)
        assert str(error.value).startswith(message)
        assert "\n" not in str(error.value)
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["densenet121", "densenet169"])
def test_the_other_networks_in_bfloat16(name):
    config = PixelClassifierConfig(CLASSES, name, 224, dtype="bfloat16")
    classifier = PixelClassifier(config)
    pixels = np.stack([random_picture(224, 224, seed) for seed in (0, 1)])
    probabilities = classifier.core({"pixels": pixels}, training=False)
    assert probabilities.dtype == "float32"
    np.testing.assert_allclose(np.sum(probabilities, axis=1), 1, atol=1e-5)
    copy = classifier.serving_copy("float32")
    np.testing.assert_allclose(
        copy.core({"pixels": pixels}, training=False), probabilities, atol=0.03
    )
