"""Config and vocabulary of a checkpoint's directory."""

import dataclasses
import os
import re

from covid_lm.backbones.configs import STEMS, BackboneConfig, PatchConfig, backbone_config
from covid_lm.backbones.vocabulary import built_in_vocabulary, read_vocabulary
from covid_lm.backbones.weights.formats import refuse_unsafe_file
from covid_lm.backbones.weights.hub import CONFIG_FILES
from covid_lm.errors import InputError, one_line
from covid_lm.files import CONFIG_BYTES, read_json, write_json

_FETCH_AGAIN = "fetch the model's own file again"
_SIZES = {  # field of `BackboneConfig` -> key of the file
    "num_layers": "num_hidden_layers",
    "hidden_dim": "hidden_size",
    "num_heads": "num_attention_heads",
    "intermediate_dim": "intermediate_size",
    "vocabulary_size": "vocab_size",
    "max_sequence_length": "max_position_embeddings",
    "num_segments": "type_vocab_size",
}
_PATCHES = "covid_lm_patches"  # our own key, for tokens of several bytes
_LARGEST_SIZE, _MOST_WORDS = 2**16, 2**20  # the largest vocabularies have 2**18 words
_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_new": "gelu_approximate",
    "gelu_pytorch_tanh": "gelu_approximate",
    "relu": "relu",
}


def read_config(directory: str | os.PathLike) -> BackboneConfig:
    """Reads `config.json` (Hugging Face) or `bert_config.json` (the original release).

    Raises:
        InputError: no such file, a missing or invalid value, or a model that isn't a BERT or is an
            unsupported variant.
    """
    path = config_path(directory)
    refuse_unsafe_file(path, CONFIG_BYTES)
    values = read_json(path)
    _require_bert(path, values)
    values = {"type_vocab_size": 2, **values}
    activation = values.get("hidden_act", "gelu")
    if activation not in list(_ACTIVATIONS):  # it may be unhashable
        raise InputError(
            f"{path}: hidden_act {_shown(activation)} is not supported; "
            f"use a model with one of {', '.join(_ACTIVATIONS)}"
        )
    config = BackboneConfig(
        **{field: _size(path, values, key) for field, key in _SIZES.items()},
        activation=_ACTIVATIONS[activation],
        layer_norm_epsilon=_fraction(path, values, "layer_norm_eps", 1e-12),
        dropout=_fraction(path, values, "hidden_dropout_prob", 0.1),
        patches=_patches(path, values.get(_PATCHES)),
    )
    if config.hidden_dim % config.num_heads:
        raise InputError(
            f"{path}: hidden_size {config.hidden_dim} is no multiple of num_attention_heads "
            f"{config.num_heads}; {_FETCH_AGAIN}"
        )
    return config


def write_config(config: BackboneConfig, padding_id: int, path: str) -> None:
    """Writes the `config.json` of a Hugging Face `BertForMaskedLM`, as `read_config` reads it."""
    activations = {ours: theirs for theirs, ours in reversed(_ACTIVATIONS.items())}
    values = {
        "architectures": ["BertForMaskedLM"],
        "model_type": "bert",
        **{key: getattr(config, field) for field, key in _SIZES.items()},
        "hidden_act": activations[config.activation],
        "layer_norm_eps": config.layer_norm_epsilon,
        "hidden_dropout_prob": config.dropout,
        "attention_probs_dropout_prob": config.dropout,
        "initializer_range": 0.02,
        "pad_token_id": padding_id,
        "tie_word_embeddings": True,
    }
    if config.patches is not None:
        values[_PATCHES] = config.patches.to_dict()
    write_json(path, values)


def vocabulary_file(directory: str | os.PathLike) -> str:
    """Returns the path of `vocab.txt`, after checking its length against `vocab_size`.

    Raises:
        InputError: no such file, a git-LFS pointer, or a different number of lines.
    """
    path = os.path.join(directory, "vocab.txt")
    if not os.path.lexists(path):
        raise InputError(f"{path}: no such file; put the vocabulary that came with the model there")
    refuse_unsafe_file(path, CONFIG_BYTES)
    with open(path, "rb") as file:
        num_words = sum(1 for _ in file)
    expected = read_config(directory).vocabulary_size
    if num_words != expected:
        raise InputError(
            f"{path}: {num_words} words, but {config_path(directory)} says vocab_size {expected}; "
            "put the vocabulary that came with the model there"
        )
    return path


def config_path(directory: str | os.PathLike) -> str:
    """Returns the path of the directory's config.

    Raises:
        InputError: no such directory, or no config in it.
    """
    if not os.path.isdir(directory):
        raise InputError(f"{os.fspath(directory)}: no such directory; give one that holds a BERT")
    for name in CONFIG_FILES:
        path = os.path.join(directory, name)
        if os.path.lexists(path):
            return path
    raise InputError(
        f"{os.fspath(directory)}: neither {' nor '.join(CONFIG_FILES)}; "
        "put the model's own config there"
    )


def _require_bert(path: str, values: dict) -> None:
    # The original release's config names neither.
    architectures = values.get("architectures") or ["Bert"]
    architecture = str(architectures[0] if isinstance(architectures, list) else architectures)
    found = values.get("model_type") or re.sub("^Bert.*", "bert", architecture)
    if found != "bert":
        raise InputError(
            f"{path}: {one_line(str(found))} is not a BERT; give a directory that holds one"
        )
    for key, expected in (("position_embedding_type", "absolute"), ("is_decoder", False)):
        if values.get(key, expected) != expected:
            raise InputError(
                f"{path}: {key} {_shown(values[key])} is not supported; "
                f"use a model with {expected!r}"
            )


def _shown(value: object) -> str:
    return one_line(repr(value))


def _size(path: str, values: dict, key: str) -> int:
    value = values.get(key)
    largest = _MOST_WORDS if key == "vocab_size" else _LARGEST_SIZE
    if type(value) is not int or not 1 <= value <= largest:
        allowed = f"not a whole number from 1 to {largest}"
        found = f"is {_shown(value)}, {allowed}" if key in values else "is missing"
        raise InputError(f"{path}: {key} {found}; {_FETCH_AGAIN}")
    return value


def _patches(path: str, values: dict | None) -> PatchConfig | None:
    if values is None:
        return None
    try:
        patches = PatchConfig(**values)
        sizes = (patches.image_size, patches.patch_size, patches.channels, patches.byte_width)
        if (
            any(type(size) is not int or not 1 <= size <= 4096 for size in sizes)
            or patches.stem not in STEMS
        ):
            raise ValueError(values)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {_PATCHES} is damaged; {_FETCH_AGAIN}") from error
    return patches


def _fraction(path: str, values: dict, key: str, default: float) -> float:
    value = values.get(key, default)
    if type(value) not in (int, float) or not 0 <= value < 1:
        raise InputError(f"{path}: {key} is {_shown(value)}, not in [0, 1); {_FETCH_AGAIN}")
    return float(value)


def select_backbone(name: str, weights: str | None) -> tuple[BackboneConfig, tuple[str, ...]]:
    """Returns config and vocabulary of a named backbone.

    Args:
        name: `--backbone`.
        weights: `--weights`, a directory as `load_weights` takes it; None for random weights and
            the built-in words.

    Raises:
        InputError: unknown backbone, or weights of a different one.
    """
    backbone = backbone_config(name)
    if weights is None:
        vocabulary = built_in_vocabulary()
        return dataclasses.replace(backbone, vocabulary_size=len(vocabulary)), vocabulary
    stored = read_config(weights)
    for field in ("num_layers", "hidden_dim", "num_heads", "intermediate_dim"):
        if getattr(stored, field) != getattr(backbone, field):
            raise InputError(
                f"--weights={weights}: {field} is {getattr(stored, field)}, but "
                f"--backbone={name} has {getattr(backbone, field)}"
            )
    return stored, read_vocabulary(vocabulary_file(weights))
