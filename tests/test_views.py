"""Two views: the mean over an image and its mirror image, live and in the export."""

import numpy as np
import pytest
import tensorflow as tf

from covid_lm.audit.attribution import attribution_shares
from covid_lm.data.records import ImageRecord
from covid_lm.evaluation.attribution import integrated_gradients
from covid_lm.models.classifier import predict_tokens
from covid_lm.models.pixel_classifier import PixelClassifier, PixelClassifierConfig
from covid_lm.models.preprocessor import MIRRORED
from covid_lm.pipeline.decoded import DecodedRecords, decode_records
from covid_lm.serving.saved_model import run_saved_model, write_saved_model
from tests.conftest import encode, random_picture
from tests.serving.tiny_model import tiny_classifier

IMAGES = [encode(random_picture(30, 50, seed)) for seed in range(3)]
RECORDS = tuple(
    ImageRecord(f"{number}.png", 0, "test", f"{number}.png", lambda image=image: image)
    for number, image in enumerate(IMAGES)
)


@pytest.fixture(scope="module")
def classifiers():
    """Of one view and of two, with the same weights."""
    return tuple(tiny_classifier("fixed", "gray22", views) for views in (1, 2))


@pytest.fixture(scope="module")
def images(classifiers):
    """The images, and their mirror images, as decoded."""
    decoded = decode_records(RECORDS, classifiers[0].preprocessor().image_input)
    return decoded, DecodedRecords(decoded.pixels[:, :, ::-1], decoded.records)


@pytest.fixture(scope="module")
def expected(classifiers, images) -> dict[str, np.ndarray]:
    """The means, from the classifier of one view."""
    one = classifiers[0]
    tokens = [split.tokenize(one.preprocessor()).tokens for split in images]
    return {
        "probabilities": np.mean([predict_tokens(one, view) for view in tokens], axis=0),
        "embedding": np.mean([one.embedding.predict(view, verbose=0) for view in tokens], axis=0),
    }


def test_the_tokens_of_both_views(classifiers, images):
    one, two = classifiers
    plain, mirrored = (split.tokenize(one.preprocessor()).tokens for split in images)
    both = images[0].tokenize(two.preprocessor()).tokens
    assert both.keys() == {*plain, MIRRORED}
    np.testing.assert_array_equal(both[MIRRORED], mirrored["token_ids"])
    assert (both[MIRRORED] != both["token_ids"]).any()
    for key in plain:
        np.testing.assert_array_equal(both[key], plain[key])
    alone = images[0].tokenize(two.preprocessor(views=1)).tokens
    assert alone.keys() == plain.keys()


def test_the_live_model_gives_the_mean(classifiers, images, expected):
    two = classifiers[1]
    tokens = images[0].tokenize(two.preprocessor()).tokens
    np.testing.assert_allclose(predict_tokens(two, tokens), expected["probabilities"], atol=1e-6)
    embedding = two.embedding.predict(tokens, verbose=0)
    np.testing.assert_allclose(embedding, expected["embedding"], atol=1e-5)


def test_the_export_gives_the_mean(classifiers, images, expected, tmp_path):
    path = str(tmp_path / "1")
    write_saved_model(classifiers[1], path, {})
    answer = next(iter(run_saved_model(path, RECORDS)))
    np.testing.assert_allclose(answer["probabilities"], expected["probabilities"], atol=1e-6)
    served = tf.saved_model.load(path).signatures
    image_bytes = tf.constant(IMAGES)
    embedding = served["embed"](image_bytes=image_bytes)["embedding"]
    np.testing.assert_allclose(embedding, expected["embedding"], atol=1e-5)
    tokens = served["tokenize"](image_bytes=image_bytes)
    first = images[0].tokenize(classifiers[0].preprocessor()).tokens
    assert tokens.keys() == first.keys()
    for key in first:
        np.testing.assert_array_equal(tokens[key], first[key])


def test_attributions_are_of_the_first_view(classifiers, images):
    one, two = classifiers
    tokens = [images[0].tokenize(c.preprocessor()).tokens for c in classifiers]
    shares = [attribution_shares(c, t) for c, t in zip(classifiers, tokens, strict=True)]
    np.testing.assert_array_equal(*shares)
    alone = [{key: value[:1] for key, value in split.items()} for split in tokens]
    first, second = (
        integrated_gradients(c, t, target=1, tolerance=1.0)
        for c, t in zip((one, two), alone, strict=True)
    )
    np.testing.assert_array_equal(first.tokens, second.tokens)


def test_a_network_of_pixels_mirrors_them_itself():
    one, two = (
        PixelClassifier(PixelClassifierConfig(("a", "b"), "resnet50", 32, views))
        for views in (1, 2)
    )
    two.logits.set_weights(one.logits.get_weights())
    pixels = np.stack([random_picture(32, 32, seed) for seed in range(2)])
    views = [one.core.predict({"pixels": view}, verbose=0) for view in (pixels, pixels[:, :, ::-1])]
    answer = two.core.predict({"pixels": pixels}, verbose=0)
    np.testing.assert_allclose(answer, np.mean(views, axis=0), atol=1e-6)
