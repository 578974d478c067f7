"""Signature `explain`: against gradients of the live model, taken through its ordinary call."""

import numpy as np
import pytest
import tensorflow as tf

from covid_lm.backbones.configs import BackboneConfig, PatchConfig
from covid_lm.backbones.vocabulary import built_in_vocabulary
from covid_lm.evaluation.token_positions import token_positions
from covid_lm.models.token_classifier import TokenClassifier, TokenClassifierConfig
from covid_lm.protocols import layout_trim
from covid_lm.serving.explain import explain_function
from tests.serving.conftest import IMAGES, NAMES

BAD = b"no image"


def word_shares(
    classifier: TokenClassifier, table: tf.Variable, tokens: dict[str, np.ndarray]
) -> tuple[np.ndarray, int]:
    """Gradient of the margin times embedding for each word id, of one image, and its class."""
    with tf.GradientTape() as tape:
        logits = classifier.logits(tokens, training=False)[0]
        target = int(tf.argmax(logits))
        others = [k for k in range(len(logits)) if k != target]
        margin = logits[target] - tf.reduce_mean(tf.gather(logits, others))
    slopes = tf.convert_to_tensor(tape.gradient(margin, table))
    return np.sum(slopes * table, axis=1), target


@pytest.fixture(scope="module")
def of_patches() -> TokenClassifier:
    """Reads 12x12 luminance in four patches of 36 bytes; random weights."""
    layout, vocabulary = "patches12x6", built_in_vocabulary()
    config = TokenClassifierConfig(
        classes=("a", "b", "c"),
        backbone_name="2x64",
        backbone=BackboneConfig(
            2, 64, 1, 64, vocabulary_size=len(vocabulary), patches=PatchConfig(12, 6, 1, 8)
        ),
        protocol="absent",
        layout=layout,
        pooling="mean",
        **layout_trim(layout, "absent"),
    )
    return TokenClassifier(config, vocabulary)


def test_patches_have_the_gradients_of_their_bytes(of_patches):
    answer = tf.function(explain_function(of_patches.serving_copy("float32")))(
        tf.constant([*IMAGES[:2], BAD])
    )
    attribution = answer["attribution"].numpy()
    assert (attribution.shape, attribution.dtype) == ((3, 12, 12), np.float32)
    preprocessor = of_patches.preprocessor()
    table = of_patches.backbone.patch_embedding.table.embeddings.value
    pixels = preprocessor.decode(tf.constant(IMAGES[:2]))["pixels"].numpy()[..., 0]
    for k in range(2):
        tokens = preprocessor(tf.constant(IMAGES[k : k + 1]))
        shares, target = word_shares(
            of_patches, table, {key: tokens[key] for key in of_patches.input_keys}
        )
        for value in np.unique(pixels[k]):
            found = attribution[k][pixels[k] == value].sum()
            expected = shares[of_patches.vocabulary.index(str(value))]
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)
        assert answer["label"][k] == of_patches.config.classes[target].encode()
    assert not attribution[2].any()
    assert (answer["label"][2], answer["valid"][2]) == (b"", False)
    assert np.abs(attribution[:2]).max() > 1e-5


def test_an_export_explains_its_answers(version_dirs, classifiers, live):
    """With names of several lengths, which move the pixels after the trim, and a bad image."""
    classifier, (tokens, _) = classifiers["masked"], live["masked"]
    explain = tf.saved_model.load(version_dirs["masked"]).signatures["explain"]
    answer = explain(image_bytes=tf.constant([*IMAGES, BAD]), filename=tf.constant([*NAMES, "x"]))
    attribution = answer["attribution"].numpy()
    assert attribution.shape == (len(IMAGES) + 1, 32, 32)
    assert answer["valid"].numpy().tolist() == [True] * len(IMAGES) + [False]
    table = classifier.backbone.token_embedding.embeddings.value
    values = [classifier.vocabulary.index(str(value)) for value in range(256)]
    for k in (0, 2, 3):
        one = {key: tokens[key][k : k + 1] for key in classifier.input_keys}
        shares, target = word_shares(classifier, table, one)
        np.testing.assert_allclose(attribution[k].sum(), shares[values].sum(), rtol=1e-3, atol=1e-6)
        kept = token_positions(classifier.preprocessor(), NAMES[k].encode()).kept().any(axis=0)
        assert not attribution[k][~kept].any()
        assert attribution[k][kept].all()
        assert answer["label"][k] == classifier.config.classes[target].encode()
