"""Integrated gradients: completeness, and each token's share against finite differences."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from covid_lm.evaluation.attribution import IntegratedGradients
from covid_lm.models.token_classifier import TokenClassifier
from tests.conftest import random_picture
from tests.serving.tiny_model import tiny_classifier

TARGET = 1


@pytest.fixture(scope="module")
def classifier() -> TokenClassifier:
    return tiny_classifier(protocol="paper")


@pytest.fixture(scope="module")
def tokens(classifier) -> dict[str, np.ndarray]:
    pixels = tf.constant(random_picture(32, 32)[np.newaxis])
    return classifier.preprocessor("visible").tokenize(pixels, tf.constant(["scan_01.png"]))


def margin(logits: np.ndarray) -> float:
    return float(logits[TARGET] - np.mean(np.delete(logits, TARGET)))


def vectors_of(classifier, tokens: dict) -> list[np.ndarray]:
    """Embeddings of tokens and of segments: float32 [batch, length, hidden] each."""
    backbone = classifier.backbone
    words = backbone.token_embedding.embeddings.numpy()[np.asarray(tokens["token_ids"])]
    segments = backbone.segment_embedding.embeddings.numpy()
    return [words, segments[np.asarray(tokens["segment_ids"])]]


def baseline_of(classifier, tokens: dict) -> dict:
    ids = np.full_like(tokens["token_ids"], classifier.vocabulary.index("[PAD]"))
    ids[:, 0] = classifier.vocabulary.index("[CLS]")
    segments = tf.zeros_like(tokens["segment_ids"])
    return {**tokens, "token_ids": tf.constant(ids), "segment_ids": segments}


def test_the_encoder_from_vectors_is_the_encoder(classifier, tokens):
    cls = classifier.encoder.from_vectors(*vectors_of(classifier, tokens), tokens["padding_mask"])
    np.testing.assert_allclose(cls, classifier.embedding(tokens), atol=1e-5)


def test_attributions_add_up_to_the_change_of_the_margin(classifier, tokens):
    attribution = IntegratedGradients(classifier)(tokens, TARGET)
    blank = baseline_of(classifier, tokens)
    end, start = (margin(classifier.logits(t).numpy()[0]) for t in (tokens, blank))
    assert attribution.margin == pytest.approx(end, abs=1e-5)
    assert attribution.baseline_margin == pytest.approx(start, abs=1e-5)
    assert abs(end - start) > 0.1
    assert attribution.tokens.sum() == pytest.approx(end - start, rel=0.01)
    assert attribution.error < 0.01 * abs(end - start)


def test_the_path_is_halved_until_the_sum_is_exact(classifier, tokens):
    rough = IntegratedGradients(classifier)(tokens, TARGET, tolerance=1e9)
    exact = IntegratedGradients(classifier)(tokens, TARGET, tolerance=1e-9)
    assert (rough.points, exact.points) == (8, 72)
    assert exact.error < 1e-3 * abs(exact.margin - exact.baseline_margin)


def test_tokens_equal_to_the_baseline_have_no_attribution(classifier, tokens):
    attribution = IntegratedGradients(classifier)(tokens, TARGET)
    assert attribution.tokens[0] == 0  # [CLS]
    same = IntegratedGradients(classifier)(baseline_of(classifier, tokens), TARGET)
    assert not same.tokens.any()
    assert same.margin == same.baseline_margin


def test_the_second_segment_counts_for_the_name(classifier, tokens):
    """Sequences that differ only in their segments share a baseline, but not attributions."""
    first = {**tokens, "segment_ids": tf.zeros_like(tokens["segment_ids"])}
    one, other = (IntegratedGradients(classifier)(t, TARGET) for t in (tokens, first))
    assert one.baseline_margin == other.baseline_margin
    assert abs(one.margin - other.margin) > 1e-3
    assert abs(one.tokens[511] - other.tokens[511]) > 1e-3


def test_each_token_has_the_integral_of_its_gradient(classifier, tokens):
    """Central differences of the forward pass alone, at the middles of 50 steps."""
    attribution = IntegratedGradients(classifier)(tokens, TARGET)
    head = classifier.logits.get_layer("feature_extraction")
    end = vectors_of(classifier, tokens)
    start = vectors_of(classifier, baseline_of(classifier, tokens))
    at = ((np.arange(50) + 0.5) / 50)[:, np.newaxis, np.newaxis]
    path = [a + at * (b - a) for a, b in zip(start, end, strict=True)]
    mask = np.repeat(tokens["padding_mask"], 50, axis=0)

    def mean_margin(points: list[np.ndarray]) -> float:
        points = [point.astype(np.float32) for point in points]
        cls = classifier.encoder.from_vectors(*points, mask)
        return float(np.mean([margin(logits) for logits in head(cls).numpy()]))

    largest = int(np.argmax(np.abs(attribution.tokens)))
    for position in (largest, 1, 505):
        steps = [np.zeros_like(b) for b in end]
        for step, a, b in zip(steps, start, end, strict=True):
            step[:, position] = 0.05 * (b - a)[:, position]
        pairs = list(zip(path, steps, strict=True))
        ahead, behind = [p + s for p, s in pairs], [p - s for p, s in pairs]
        slope = (mean_margin(ahead) - mean_margin(behind)) / 0.1
        scale = np.abs(attribution.tokens[largest])
        assert attribution.tokens[position] == pytest.approx(slope, abs=0.02 * scale)


def test_a_mixed_policy_is_attributed_in_float32(classifier, tokens):
    mixed = TokenClassifier(classifier.config, classifier.vocabulary, "mixed_bfloat16")
    mixed.logits.set_weights(classifier.logits.get_weights())
    of_mixed, of_float = (IntegratedGradients(c)(tokens, TARGET) for c in (mixed, classifier))
    np.testing.assert_allclose(of_mixed.tokens, of_float.tokens, atol=1e-5)


def test_margins_of_two_targets_of_two_classes_are_opposite():
    """The margin of two classes is their log odds."""
    three = tiny_classifier()
    two = TokenClassifier(dataclasses.replace(three.config, classes=("a", "b")), three.vocabulary)
    pixels = tf.constant(random_picture(32, 32)[np.newaxis])
    tokens = two.preprocessor().tokenize(pixels, tf.constant(["a.png"]))
    first, second = (IntegratedGradients(two)(tokens, k) for k in (0, 1))
    assert first.margin == pytest.approx(-second.margin, abs=1e-6)
    np.testing.assert_allclose(first.tokens, -second.tokens, atol=1e-6)
    odds = np.log(np.divide(*two.core(tokens).numpy()[0]))
    assert first.margin == pytest.approx(odds, abs=1e-5)
