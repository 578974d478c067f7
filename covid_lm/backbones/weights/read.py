"""Pretrained weights: a directory with a BERT in one of three formats, read into a `BertBackbone`.

    DIR/config.json or bert_config.json
    DIR/vocab.txt
    DIR/model.safetensors, or tf_model.h5, or bert_model.ckpt.index with its .data files

Nothing is loaded unless each tensor of the file has a variable, and each variable a tensor.
"""

import dataclasses
import glob
import os

import numpy as np

from covid_lm.backbones.bert_encoder import BertBackbone
from covid_lm.backbones.weights import formats, tensor_names
from covid_lm.backbones.weights.config import config_path, read_config, vocabulary_file
from covid_lm.backbones.weights.formats import TensorFile
from covid_lm.backbones.weights.tensor_names import Target
from covid_lm.errors import InputError

__all__ = ["LoadedWeights", "load_weights", "read_config", "vocabulary_file"]

_CONVERT = (
    'python -c "import torch, safetensors.torch as s; s.save_file({k: v.clone() for k, v in'
    " torch.load('pytorch_model.bin', weights_only=True).items()}, 'model.safetensors')\""
)


@dataclasses.dataclass(frozen=True)
class LoadedWeights:
    """Contents of a checkpoint.

    Attributes:
        path: the file that was read.
        pooler: true if the file has the pooler; if not, the backbone's keeps its initial values.
        masked_lm_head: None, or float32 arrays `transform_kernel` [hidden, hidden] (inputs
            first), `transform_bias`, `layer_norm_gamma`, `layer_norm_beta` [hidden] and
            `decoder_bias` [vocabulary]; the decoder's kernel is the token embedding.
    """

    path: str
    pooler: bool
    masked_lm_head: dict[str, np.ndarray] | None


def load_weights(directory: str | os.PathLike, backbone: BertBackbone) -> LoadedWeights:
    """Assigns a checkpoint's tensors to the backbone, which was built from `read_config`.

    All names, shapes and types are checked before any variable changes. The additional memory is
    about twice that of the largest tensor.

    Raises:
        InputError: no checkpoint, a damaged one, or one with a tensor that doesn't fit.
    """
    _require_same_sizes(directory, backbone)
    file = _open(os.fspath(directory))
    names = _names_by_place(file)
    _require_layers(file, names, backbone.num_layers, config_path(directory))
    encoder = tensor_names.encoder_targets(backbone)
    pooler = tensor_names.pooler_targets(backbone)
    head = tensor_names.masked_lm_targets(backbone)
    known = encoder | pooler | head
    _require_known(file, names, known)
    # Pooler and head may be absent, but not incomplete.
    has_pooler = not names.keys().isdisjoint(pooler)
    has_head = not names.keys().isdisjoint(head)
    assigned = encoder | pooler if has_pooler else encoder
    _require_complete(file, names, assigned | head if has_head else assigned)
    for place, own_names in names.items():
        _require_fit(file, own_names, known[place])
    _require_agreement(file, names)
    for place, target in assigned.items():
        assert target.variable is not None  # true for all but the masked-LM head
        target.variable.assign(_read(file, names[place][0], target))
    masked_lm_head = None
    if has_head:
        masked_lm_head = {
            key: _read(file, names[place][0], head[place])
            for key, place in tensor_names.MASKED_LM_HEAD.items()
        }
    return LoadedWeights(file.path, has_pooler, masked_lm_head)


def _require_same_sizes(directory: str | os.PathLike, backbone: BertBackbone) -> None:
    # Tensor shapes don't suffice: they are the same for any number of heads.
    config = read_config(directory)
    for field in dataclasses.fields(config):
        expected, found = getattr(config, field.name), getattr(backbone, field.name, None)
        if isinstance(expected, int) and found != expected:
            raise InputError(
                f"{config_path(directory)}: {field.name} is {expected}, but the backbone has "
                f"{found}; build the backbone from this config"
            )


def _open(directory: str) -> TensorFile:
    """Opens the checkpoint in a directory: safetensors, else HDF5, else the original format."""

    def inside(pattern: str) -> list[str]:
        return sorted(glob.glob(os.path.join(glob.escape(directory), pattern)))

    for name, opener in (
        ("model.safetensors", formats.open_safetensors),
        ("tf_model.h5", formats.open_h5),
    ):
        for path in inside(name):
            return opener(path)
    indices = inside("bert_model.ckpt.index") or inside("*.index")
    if len(indices) == 1:
        return formats.open_tf1_checkpoint(indices[0])
    if indices:
        found = ", ".join(os.path.basename(path) for path in indices)
        raise InputError(f"{directory}: several checkpoints ({found}); leave one of them there")
    for path in inside("*.data-?????-of-?????"):
        index = path[: path.rindex(".data-")] + ".index"
        raise InputError(f"{index}: missing; fetch it and put it next to {os.path.basename(path)}")
    if inside("pytorch_model.bin"):
        raise InputError(
            f"{directory}: holds pytorch_model.bin only; convert it to model.safetensors there "
            f"with: {_CONVERT}"
        )
    raise InputError(
        f"{directory}: no weights; put model.safetensors, tf_model.h5 or bert_model.ckpt.index "
        "with its .data files there"
    )


def _names_by_place(file: TensorFile) -> dict[str, list[str]]:
    """Canonical name -> names in the file, several of them for tied weights."""
    names: dict[str, list[str]] = {}
    for name in sorted(file.specs):
        place = tensor_names.canonical_name(name)
        if place is not None:
            names.setdefault(place, []).append(name)
    return names


def _require_layers(
    file: TensorFile, names: dict[str, list[str]], expected: int, config: str
) -> None:
    # A file without layers is something else; the message on its unknown tensors is clearer.
    held = tensor_names.layer_count(names.keys())
    if held not in (0, expected):
        raise InputError(
            f"{file.path}: {held} layers, but {config} says num_hidden_layers {expected}; "
            "put the file and the config of one and the same model there"
        )


def _require_known(file: TensorFile, names: dict[str, list[str]], known: dict[str, Target]) -> None:
    left_over = [name for place in names if place not in known for name in names[place]]
    if left_over:
        raise InputError(
            f"{file.path}: tensor {left_over[0]}{_and_more(left_over)} has no place in a BERT "
            "encoder; give the pretrained model, or delete the tensor"
        )


def _require_complete(
    file: TensorFile, names: dict[str, list[str]], wanted: dict[str, Target]
) -> None:
    missing = [place for place in wanted if place not in names]
    if missing:
        raise InputError(
            f"{file.path}: no tensor for {missing[0]}{_and_more(missing)}; "
            "fetch the whole model again"
        )


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _require_fit(file: TensorFile, own_names: list[str], target: Target) -> None:
    for name in own_names:
        spec = file.specs[name]
        transposed = tensor_names.is_transposed(name)
        if not target.accepts(spec.shape, transposed):
            expected = target.shape[::-1] if transposed else target.shape
            raise InputError(
                f"{file.path}: tensor {name} is {list(spec.shape)}, but the config asks for "
                f"{list(expected)}; put the file and the config of one and the same model there"
            )
        if not spec.is_floating:
            raise InputError(
                f"{file.path}: tensor {name} holds whole numbers; give a model that is not "
                "quantized"
            )


def _require_agreement(file: TensorFile, names: dict[str, list[str]]) -> None:
    """Raises InputError if tied weights, stored twice, differ."""
    for first, *others in names.values():
        for other in others:
            if not np.array_equal(file.read(first), file.read(other)):
                raise InputError(
                    f"{file.path}: tensors {first} and {other} differ, but a BERT has one for "
                    "both; delete the one that is not wanted"
                )


def _read(file: TensorFile, name: str, target: Target) -> np.ndarray:
    return target.arrange(file.read(name), tensor_names.is_transposed(name))
