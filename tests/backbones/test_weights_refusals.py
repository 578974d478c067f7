"""Unusable checkpoints are refused with one exact line."""

import os
import re

import numpy as np
import pytest

from covid_lm.backbones.configs import BackboneConfig
from covid_lm.backbones.weights.read import load_weights
from tests.backbones import generated_checkpoints as generated
from tests.backbones.conftest import ARRAYS, CONFIG, SHAPES, the_line, write

WHOLE_MODEL = "put the file and the config of one and the same model there"
DAMAGED = "it is truncated or damaged: fetch it again"


def without(pattern, arrays=ARRAYS):
    return {name: array for name, array in arrays.items() if not re.search(pattern, name)}


def test_directory_without_a_model(tmp_path, backbone):
    absent = tmp_path / "absent"
    assert the_line(load_weights, absent, backbone) == (
        f"{absent}: no such directory; give one that holds a BERT"
    )
    assert the_line(load_weights, tmp_path, backbone) == (
        f"{tmp_path}: neither config.json nor bert_config.json; put the model's own config there"
    )
    generated.write_config(tmp_path, CONFIG)
    assert the_line(load_weights, tmp_path, backbone) == (
        f"{tmp_path}: no weights; put model.safetensors, tf_model.h5 or bert_model.ckpt.index "
        "with its .data files there"
    )
    (tmp_path / "pytorch_model.bin").touch()
    assert the_line(load_weights, tmp_path, backbone).startswith(
        f"{tmp_path}: holds pytorch_model.bin only; convert it to model.safetensors there with: "
        'python -c "import torch'
    )


def test_several_tf1_checkpoints(tmp_path, backbone):
    write(tmp_path, "tf1", stem="a.ckpt")
    write(tmp_path, "tf1", stem="b.ckpt")
    assert the_line(load_weights, tmp_path, backbone) == (
        f"{tmp_path}: several checkpoints (a.ckpt.index, b.ckpt.index); leave one of them there"
    )


def test_tf1_parts_missing(tmp_path, backbone):
    index = write(tmp_path, "tf1")
    shard = index.replace(".index", ".data-00000-of-00001")
    os.rename(shard, f"{shard}.away")
    assert the_line(load_weights, tmp_path, backbone) == (
        f"{shard}: missing; fetch it and put it next to {index}"
    )
    os.rename(f"{shard}.away", shard)
    os.remove(index)
    assert the_line(load_weights, tmp_path, backbone) == (
        f"{index}: missing; fetch it and put it next to {os.path.basename(shard)}"
    )


def test_second_tf1_shard_missing(tmp_path, backbone):
    index = write(tmp_path, "tf1")
    shard = index.replace(".index", ".data-00000-of-00001")
    os.rename(shard, shard.replace("of-00001", "of-00002"))
    assert the_line(load_weights, tmp_path, backbone) == (
        f"{index.replace('.index', '.data-00001-of-00002')}: missing; "
        f"fetch it and put it next to {index}"
    )


def truncate(path):
    os.truncate(path, os.path.getsize(path) - 10)


@pytest.mark.parametrize(
    ("file_format", "text"), [("safetensors", "safetensors file"), ("h5", "HDF5 file")]
)
def test_truncated_file(tmp_path, backbone, file_format, text):
    path = write(tmp_path, file_format)
    truncate(path)
    assert the_line(load_weights, tmp_path, backbone) == f"{path}: not a complete {text}; {DAMAGED}"
    os.truncate(path, 0)
    assert the_line(load_weights, tmp_path, backbone) == f"{path}: not a complete {text}; {DAMAGED}"


def test_truncated_tf1(tmp_path, backbone):
    index = write(tmp_path, "tf1")
    shard = index.replace(".index", ".data-00000-of-00001")
    needed = 4 * generated.count_parameters(SHAPES)
    truncate(shard)
    assert the_line(load_weights, tmp_path, backbone) == (
        f"{shard}: the tensors need {needed} bytes, the data holds {needed - 10}; {DAMAGED}"
    )
    truncate(index)
    line = f"{index}: not a complete checkpoint index; {DAMAGED}"
    assert the_line(load_weights, tmp_path, backbone) == line
    os.truncate(index, 0)
    assert the_line(load_weights, tmp_path, backbone) == line


def test_damaged_tf1_data(tmp_path, backbone):
    index = write(tmp_path, "tf1", ARRAYS)
    with open(index.replace(".index", ".data-00000-of-00001"), "r+b") as shard:
        shard.write(b"\xff" * 4 * generated.count_parameters(SHAPES))
    line = the_line(load_weights, tmp_path, backbone)
    assert re.fullmatch(rf"{index}: tensor \S+ cannot be read; {DAMAGED}", line)


def test_git_lfs_pointers(tmp_path, backbone, file_format):
    index = write(tmp_path, file_format)
    paths = [index, str(tmp_path / generated.CONFIG_FILES[file_format])]
    if file_format == "tf1":
        paths.insert(0, index.replace(".index", ".data-00000-of-00001"))
    for path in paths:
        with open(path, "w") as file:
            file.write("version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 9\n")
        line = "a git-LFS pointer, not the file itself: run `git lfs pull` in its folder"
        assert the_line(load_weights, tmp_path, backbone) == f"{path}: {line}"


def own_name(name, file_format):
    """The name in an error message for a tensor's name in the original release."""
    if file_format == "safetensors":
        name = name.replace("layer_", "layer.").replace("/", ".").replace("kernel", "weight")
    elif file_format == "h5":
        name = f"bert/tf_bert_for_pre_training/{name.replace('layer_', 'layer_._')}:0"
    return name


def test_left_over_tensor(tmp_path, backbone, file_format):
    name = "bert/encoder/layer_1/crossattention/self/query/kernel"
    path = write(tmp_path, file_format, ARRAYS | {name: np.ones((32, 32), np.float32)})
    assert the_line(load_weights, tmp_path, backbone) == (
        f"{path}: tensor {own_name(name, file_format)} has no place in a BERT encoder; "
        "give the pretrained model, or delete the tensor"
    )


def test_left_over_head(tmp_path, backbone):
    head = {"classifier/kernel": np.ones((32, 2), np.float32), "classifier/bias": np.ones(2, "f")}
    path = write(tmp_path, "safetensors", ARRAYS | head)
    assert the_line(load_weights, tmp_path, backbone) == (
        f"{path}: tensor classifier.bias (and 1 more) has no place in a BERT encoder; "
        "give the pretrained model, or delete the tensor"
    )


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("layer_1/output/dense/bias", "encoder/layer_1/output/dense/bias"),
        ("layer_0/attention/self", "encoder/layer_0/attention/self/query/kernel (and 5 more)"),
        ("pooler/dense/bias", "pooler/dense/bias"),
        ("transform/LayerNorm", "predictions/transform/LayerNorm/gamma (and 1 more)"),
    ],
)
def test_missing_tensor(tmp_path, backbone, file_format, pattern, text):
    path = write(tmp_path, file_format, without(pattern))
    assert the_line(load_weights, tmp_path, backbone) == (
        f"{path}: no tensor for {text}; fetch the whole model again"
    )


def test_another_shape(tmp_path, backbone, file_format):
    name = "bert/encoder/layer_1/intermediate/dense/kernel"
    path = write(tmp_path, file_format, ARRAYS | {name: np.ones((32, 65), np.float32)})
    found, expected = ((65, 32), (64, 32)) if file_format == "safetensors" else ((32, 65), (32, 64))
    assert the_line(load_weights, tmp_path, backbone) == (
        f"{path}: tensor {own_name(name, file_format)} is {list(found)}, but the config asks for "
        f"{list(expected)}; {WHOLE_MODEL}"
    )


@pytest.mark.parametrize("layers", [1, 3])
def test_another_layer_count(tmp_path, backbone, file_format, layers):
    config = BackboneConfig(layers, 32, 4, 64, vocabulary_size=50, max_sequence_length=16)
    arrays = generated.random_arrays(generated.tensor_shapes(config))
    path = write(tmp_path, file_format, arrays)
    assert the_line(load_weights, tmp_path, backbone) == (
        f"{path}: {layers} layers, but {tmp_path}/{generated.CONFIG_FILES[file_format]} says "
        f"num_hidden_layers 2; {WHOLE_MODEL}"
    )


def test_untied_decoder(tmp_path, backbone):
    path = write(
        tmp_path,
        "safetensors",
        ARRAYS | {"cls/predictions/decoder/kernel": np.ones((32, 50), np.float32)},
    )
    assert the_line(load_weights, tmp_path, backbone) == (
        f"{path}: tensors bert.embeddings.word_embeddings.weight and "
        "cls.predictions.decoder.weight differ, but a BERT has one for both; "
        "delete the one that is not wanted"
    )


def test_quantized_tensor(tmp_path, backbone, file_format):
    name = "bert/encoder/layer_0/output/dense/kernel"
    path = write(tmp_path, file_format, ARRAYS | {name: np.ones((64, 32), np.int8)})
    assert the_line(load_weights, tmp_path, backbone) == (
        f"{path}: tensor {own_name(name, file_format)} holds whole numbers; "
        "give a model that is not quantized"
    )


def test_nothing_is_assigned_on_an_error(tmp_path, backbone, file_format):
    before = backbone.get_weights()
    for number, arrays in enumerate(
        (
            without("layer_1/output/dense/bias"),
            ARRAYS | {"bert/pooler/dense/bias": np.ones(31, np.float32)},
            ARRAYS | {"bert/encoder/layer_1/odd": np.ones(3, np.float32)},
        )
    ):
        directory = tmp_path / str(number)
        directory.mkdir()
        write(directory, file_format, {name: array + 1 for name, array in arrays.items()})
        the_line(load_weights, directory, backbone)
    for old, new in zip(before, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
