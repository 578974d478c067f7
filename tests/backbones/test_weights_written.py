"""A saved directory has the released names, and is read bit-equal."""

import dataclasses
import json
import os

import numpy as np
import pytest
from safetensors.numpy import load_file

from covid_lm.backbones.configs import BackboneConfig
from covid_lm.backbones.masked_lm_encoder import MaskedLmHead
from covid_lm.backbones.patch_embedding import build_backbone
from covid_lm.backbones.vocabulary import built_in_vocabulary, read_vocabulary
from covid_lm.backbones.weights import tensor_names
from covid_lm.backbones.weights.read import load_weights, read_config, vocabulary_file
from covid_lm.backbones.weights.write import save_checkpoint
from tests.backbones import generated_checkpoints as generated

VOCABULARY = built_in_vocabulary()
CONFIG = BackboneConfig(
    2,
    32,
    4,
    64,
    vocabulary_size=len(VOCABULARY),
    max_sequence_length=16,
    layer_norm_epsilon=1e-7,
    dropout=0.2,
)


def make_weights(config=CONFIG):
    backbone = build_backbone(config)
    head = MaskedLmHead(backbone.token_embedding, [5, 6])
    head.build((None, 3, config.hidden_dim))
    generator = np.random.default_rng(0)
    for variable in [*backbone.weights, *head.own_weights().values()]:
        variable.assign(generator.normal(size=variable.shape))
    return backbone, head.own_weights()


def save(directory, pooler=True, config=CONFIG):
    backbone, head = make_weights(config)
    save_checkpoint(str(directory), backbone, config, VOCABULARY, head, pooler)
    return backbone, head


@pytest.mark.parametrize("pooler", [True, False])
def test_round_trip_is_bit_equal(tmp_path, pooler):
    directory = tmp_path / "weights"
    backbone, head = save(directory, pooler)
    assert sorted(os.listdir(directory)) == ["config.json", "model.safetensors", "vocab.txt"]
    assert len({path.stat().st_mode for path in directory.iterdir()}) == 1
    assert read_config(directory) == CONFIG
    assert read_vocabulary(vocabulary_file(directory)) == VOCABULARY
    other = build_backbone(CONFIG)
    initial_pooler = other.pooled_dense.kernel.numpy()
    loaded = load_weights(directory, other)
    assert loaded.pooler == pooler
    for ours, theirs in zip(backbone.weights, other.weights, strict=True):
        if pooler or "pooled_dense" not in ours.path:
            np.testing.assert_array_equal(ours.numpy(), theirs.numpy(), err_msg=ours.path)
    if not pooler:
        np.testing.assert_array_equal(other.pooled_dense.kernel.numpy(), initial_pooler)
    assert loaded.masked_lm_head.keys() == head.keys()
    for key, array in loaded.masked_lm_head.items():
        np.testing.assert_array_equal(array, head[key].numpy())


def test_names_and_shapes_are_those_of_hugging_face(tmp_path):
    save(tmp_path / "weights")
    shapes = generated.tensor_shapes(CONFIG)
    generated.write_safetensors(str(tmp_path), generated.random_arrays(shapes))
    expected = load_file(tmp_path / "model.safetensors")
    actual = load_file(tmp_path / "weights" / "model.safetensors")
    assert {name: array.shape for name, array in actual.items()} == {
        name: array.shape for name, array in expected.items()
    }
    assert {array.dtype for array in actual.values()} == {np.dtype(np.float32)}


def test_every_name_maps_back_to_its_canonical_name():
    backbone = build_backbone(CONFIG)
    places = (
        tensor_names.encoder_targets(backbone)
        | tensor_names.pooler_targets(backbone)
        | tensor_names.masked_lm_targets(backbone)
    )
    for place in places:
        name = tensor_names.hugging_face_name(place)
        assert tensor_names.canonical_name(name) == place
        assert tensor_names.is_transposed(name) == place.endswith("/kernel")


@pytest.mark.parametrize("activation", ["gelu", "gelu_approximate", "relu"])
def test_config_round_trip(tmp_path, activation):
    config = dataclasses.replace(CONFIG, activation=activation)
    save(tmp_path / "weights", config=config)
    assert read_config(tmp_path / "weights") == config
    values = json.loads((tmp_path / "weights" / "config.json").read_text())
    assert values["architectures"] == ["BertForMaskedLM"]
    assert values["pad_token_id"] == VOCABULARY.index("[PAD]")


def test_a_directory_is_replaced_atomically(tmp_path):
    directory = tmp_path / "weights"
    directory.mkdir()
    (directory / "tf_model.h5").write_text("another format's")
    save(directory)
    assert os.listdir(tmp_path) == ["weights"]
    assert sorted(os.listdir(directory)) == ["config.json", "model.safetensors", "vocab.txt"]


def test_a_failure_keeps_the_old_directory(tmp_path):
    directory = tmp_path / "weights"
    directory.mkdir()
    (directory / "old").write_text("old")
    backbone, head = make_weights()
    with pytest.raises(ValueError, match="not in tuple"):
        save_checkpoint(str(directory), backbone, CONFIG, ("no padding",), head, True)
    assert os.listdir(tmp_path) == ["weights"]
    assert os.listdir(directory) == ["old"]
