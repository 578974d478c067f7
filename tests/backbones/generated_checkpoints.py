"""Writes small BERT checkpoints with the exact tensor names and shapes of the released ones.

The names are written out here again, independently of `backbones/weights/tensor_names.py`.
Arrays are keyed by the original release's names (`bert/encoder/layer_0/...`), kernels
[inputs, outputs].
"""

import json
import math
import os
import re

import h5py
import numpy as np
import tensorflow as tf
from safetensors.numpy import save_file

from covid_lm.backbones.configs import BackboneConfig

TIED_DECODER = "cls.predictions.decoder.weight"


def tensor_shapes(
    config: BackboneConfig, pooler: bool = True, masked_lm_head: bool = True
) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every tensor of the original release, without the next-sentence head."""
    width, inner, words = config.hidden_dim, config.intermediate_dim, config.vocabulary_size
    shapes = {
        "bert/embeddings/word_embeddings": (words, width),
        "bert/embeddings/position_embeddings": (config.max_sequence_length, width),
        "bert/embeddings/token_type_embeddings": (config.num_segments, width),
        "bert/embeddings/LayerNorm/gamma": (width,),
        "bert/embeddings/LayerNorm/beta": (width,),
    }
    for index in range(config.num_layers):
        scope = f"bert/encoder/layer_{index}"
        for name, inputs, outputs in (
            ("attention/self/query", width, width),
            ("attention/self/key", width, width),
            ("attention/self/value", width, width),
            ("attention/output/dense", width, width),
            ("intermediate/dense", width, inner),
            ("output/dense", inner, width),
        ):
            shapes[f"{scope}/{name}/kernel"] = (inputs, outputs)
            shapes[f"{scope}/{name}/bias"] = (outputs,)
        for name in ("attention/output/LayerNorm", "output/LayerNorm"):
            shapes[f"{scope}/{name}/gamma"] = shapes[f"{scope}/{name}/beta"] = (width,)
    if pooler:
        shapes["bert/pooler/dense/kernel"] = (width, width)
        shapes["bert/pooler/dense/bias"] = (width,)
    if masked_lm_head:
        shapes["cls/predictions/transform/dense/kernel"] = (width, width)
        shapes["cls/predictions/transform/dense/bias"] = (width,)
        shapes["cls/predictions/transform/LayerNorm/gamma"] = (width,)
        shapes["cls/predictions/transform/LayerNorm/beta"] = (width,)
        shapes["cls/predictions/output_bias"] = (words,)
    return shapes


def count_parameters(shapes: dict[str, tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for shape in shapes.values())


def random_arrays(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """float32 arrays of these shapes, with distinct values within a tensor."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def write_config(directory: str, config: BackboneConfig, name: str = "config.json", **more) -> None:
    values = {
        "num_hidden_layers": config.num_layers,
        "hidden_size": config.hidden_dim,
        "num_attention_heads": config.num_heads,
        "intermediate_size": config.intermediate_dim,
        "vocab_size": config.vocabulary_size,
        "max_position_embeddings": config.max_sequence_length,
        "type_vocab_size": config.num_segments,
        "hidden_act": "gelu",
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.dropout,
        "initializer_range": 0.02,
    }
    if name == "config.json":
        values |= {"model_type": "bert", "architectures": ["BertForMaskedLM"]}
        values |= {"layer_norm_eps": config.layer_norm_epsilon}
    with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
        json.dump(values | more, file)


def write_tf1(directory: str, arrays: dict[str, np.ndarray], stem: str = "bert_model.ckpt") -> str:
    """The original release's format; returns the path of its index."""
    prefix = os.path.join(directory, stem)
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(arrays),
        shape_and_slices=[""] * len(arrays),
        tensors=list(arrays.values()),
    )
    return f"{prefix}.index"


def write_safetensors(
    directory: str,
    arrays: dict[str, np.ndarray],
    prefix: str = "bert.",
    layer_norm: tuple[str, str] = ("weight", "bias"),
) -> str:
    """Hugging Face's PyTorch names, Linear weights [outputs, inputs]; returns the path."""
    tensors = {}
    for name, array in arrays.items():
        name = re.sub(r"/layer_(\d+)/", r"/layer/\1/", name)
        name = re.sub(r"^bert/", prefix, name).replace("/", ".")
        name = name.replace("predictions.output_bias", "predictions.bias")
        name = name.replace("LayerNorm.gamma", f"LayerNorm.{layer_norm[0]}")
        name = name.replace("LayerNorm.beta", f"LayerNorm.{layer_norm[1]}")
        if name.endswith("_embeddings"):
            name = f"{name}.weight"
        elif name.endswith(".kernel"):
            name, array = name.replace(".kernel", ".weight"), array.T
        tensors[name] = np.ascontiguousarray(array)
    path = os.path.join(directory, "model.safetensors")
    save_file(tensors, path, metadata={"format": "pt"})
    return path


def write_h5(
    directory: str, arrays: dict[str, np.ndarray], model: str | None = "tf_bert_for_pre_training"
) -> str:
    """Hugging Face's TensorFlow names, one group a top-level layer; returns the path.

    `mlm___cls` holds the tied word embeddings once more. Without `model`, the names are those of
    a layer saved outside a model.
    """
    groups = {"bert": {}, "mlm___cls": {}}
    scope = f"{model}/" if model else ""
    for name, array in arrays.items():
        name = re.sub(r"/layer_(\d+)/", r"/layer_._\1/", name)
        name = name.replace("cls/", "mlm___cls/").replace(
            "predictions/output_bias", "predictions/bias"
        )
        if name.endswith("word_embeddings"):
            name = f"{name}/weight"
        elif name.endswith("_embeddings"):
            name = f"{name}/embeddings"
        groups[name.split("/")[0]][f"{scope}{name}:0"] = array
    if groups["mlm___cls"]:
        tied = f"{scope}bert/embeddings/word_embeddings/weight:0"
        groups["mlm___cls"][tied] = groups["bert"][tied]
        groups["nsp___cls"] = {
            f"{scope}nsp___cls/seq_relationship/kernel:0": np.ones((4, 2), np.float32),
            f"{scope}nsp___cls/seq_relationship/bias:0": np.ones(2, np.float32),
        }
    path = os.path.join(directory, "tf_model.h5")
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in groups]
        file.attrs["backend"] = b"tensorflow"
        for group_name, tensors in groups.items():
            group = file.create_group(group_name)
            group.attrs["weight_names"] = [name.encode() for name in tensors]
            for name, array in tensors.items():
                group.create_dataset(name, data=array)
    return path


WRITERS = {"safetensors": write_safetensors, "h5": write_h5, "tf1": write_tf1}
CONFIG_FILES = {"safetensors": "config.json", "h5": "config.json", "tf1": "bert_config.json"}


def write_directory(
    directory: str,
    file_format: str,
    arrays: dict[str, np.ndarray],
    config: BackboneConfig,
    **options,
) -> str:
    """Config and weights, `options` being the writer's; returns the path of the weights."""
    write_config(directory, config, CONFIG_FILES[file_format])
    return WRITERS[file_format](directory, arrays, **options)
