"""Formulas of costs compared with built models and with manual calculations."""

import dataclasses

import pytest

from covid_lm.backbones.configs import (
    BackboneConfig,
    activation_bytes,
    backbone_config,
    parameter_count,
)
from covid_lm.models.token_classifier import TokenClassifier, TokenClassifierConfig

ODD = BackboneConfig(
    3, 96, 3, 160, vocabulary_size=401, max_sequence_length=70, num_segments=3, dropout=0.0
)


@pytest.mark.parametrize(
    ("config", "classes"),
    [
        (backbone_config("tiny"), 2),
        (ODD, 5),
        (dataclasses.replace(backbone_config("minilm-l6"), num_layers=2), 10),
    ],
)
def test_parameters_of_a_built_classifier(config, classes):
    names = tuple(f"class {number}" for number in range(classes))
    lengths = {"head": 32, "tail": 32}
    built = TokenClassifier(TokenClassifierConfig(names, "any", config, **lengths), vocabulary=())
    assert parameter_count(config, classes) == built.logits.count_params()


def test_published_parameter_counts():
    """RBT3 has 38 million, RBTL3 61 and RoBERTa-wwm-ext-large 325 (Cui et al., 2021)."""
    published = {"rbt3": 38, "rbtl3": 61, "roberta-wwm-ext-large": 325}
    for name, millions in published.items():
        assert parameter_count(backbone_config(name), 2) / 1e6 == pytest.approx(millions, abs=0.6)


def test_bytes_by_hand():
    config = BackboneConfig(2, 8, 2, 16, vocabulary_size=10, max_sequence_length=4)
    # Embeddings and their normalization, two layers, the pooler, and three classes.
    layer = 4 * 72 + (8 * 16 + 16) + (16 * 8 + 8) + 2 * 16
    assert parameter_count(config, 3) == 16 * 8 + 16 + 2 * layer + 72 + 27
    assert activation_bytes(config, 4) == 2 * (34 * 4 * 8 + 5 * 2 * 16)
    assert activation_bytes(config, 4, "float32") == 2 * activation_bytes(config, 4)
