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
from keras_nlp.models import BertBackbone

from covid_lm.backbones.configs import PatchConfig
from covid_lm.backbones.weights import formats, tensor_names
from covid_lm.backbones.weights.config import config_path, read_config, vocabulary_file
from covid_lm.backbones.weights.formats import TensorFile
from covid_lm.backbones.weights.tensor_names import Target
from covid_lm.errors import InputError

__all__ = ["LoadedWeights", "load_weights", "read_config", "vocabulary_file"]

_WHOLE_MODEL = "put the file and the config of one and the same model there"
_CONVERT = (
    "convert it to model.safetensors there with: "
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

    All names, shapes, types and values are checked before any variable changes. The additional
    memory is about twice that of the largest tensor.

    Raises:
        InputError: no checkpoint, a damaged one, one with a tensor that doesn't fit or isn't
            finite, or a file that must not be read (a link out of the directory, a FIFO).
    """
    _require_same_sizes(directory, backbone)
    file = _open(os.fspath(directory))
    for name in file.specs:
        if not name.isprintable():
            raise InputError(f"{file.path}: tensor {name!r} has a name that can't be printed")
    names: dict[str, list[str]] = {}  # canonical name -> names in the file, several if tied
    for name in sorted(file.specs):
        place = tensor_names.canonical_name(name)
        if place is not None:
            names.setdefault(place, []).append(name)
    # A file without layers is something else; the message on its unknown tensors is clearer.
    held = tensor_names.layer_count(names)
    if held not in (0, backbone.num_layers):
        raise InputError(
            f"{file.path}: {held} layers, but {config_path(directory)} says num_hidden_layers "
            f"{backbone.num_layers}; {_WHOLE_MODEL}"
        )
    pooler = tensor_names.pooler_targets(backbone)
    head = tensor_names.masked_lm_targets(backbone)
    # Pooler and head may be absent, but not incomplete.
    has_pooler = not names.keys().isdisjoint(pooler)
    has_head = not names.keys().isdisjoint(head)
    targets = tensor_names.encoder_targets(backbone)
    targets |= (pooler if has_pooler else {}) | (head if has_head else {})
    _require_places(file, names, targets)
    for place, target in targets.items():
        for name in names[place]:
            _require_fit(file, name, target)
    _require_values(file, names, targets)

    def read(place: str) -> np.ndarray:
        name = names[place][0]
        return targets[place].arrange(file.read(name), tensor_names.is_transposed(name))

    for place, target in targets.items():
        if target.variable is not None:  # None: part of the masked-LM head
            target.variable.assign(read(place))
    head_places = tensor_names.MASKED_LM_HEAD.items() if has_head else ()
    masked_lm_head = {key: read(place) for key, place in head_places}
    return LoadedWeights(file.path, has_pooler, masked_lm_head or None)


def _require_same_sizes(directory: str | os.PathLike, backbone: BertBackbone) -> None:
    # Tensor shapes don't suffice: they are the same for any number of heads.
    config = read_config(directory)
    embedding = backbone.patch_embedding
    if config.patches != (embedding and embedding.patches):
        raise InputError(
            f"{config_path(directory)}: tokens are {_tokens(config.patches)}, but the backbone's "
            f"are {_tokens(embedding and embedding.patches)}; build the backbone from this config"
        )
    for field in dataclasses.fields(config):
        expected, found = getattr(config, field.name), getattr(backbone, field.name, None)
        if field.name == "vocabulary_size" and embedding is not None:
            found = embedding.vocabulary_size
        if isinstance(expected, int) and found != expected:
            raise InputError(
                f"{config_path(directory)}: {field.name} is {expected}, but the backbone has "
                f"{found}; build the backbone from this config"
            )


def _tokens(patches: PatchConfig | None) -> str:
    return "single bytes" if patches is None else f"patches of {patches.to_dict()}"


def _open(directory: str) -> TensorFile:
    """Opens the checkpoint in a directory: safetensors, else HDF5, else the original format."""

    def inside(pattern: str) -> list[str]:
        return sorted(glob.glob(os.path.join(glob.escape(directory), pattern)))

    for path in inside("model.safetensors"):
        return formats.open_safetensors(path)
    for path in inside("tf_model.h5"):
        return formats.open_h5(path)
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
        raise InputError(f"{directory}: holds pytorch_model.bin only; {_CONVERT}")
    raise InputError(
        f"{directory}: no weights; put model.safetensors, tf_model.h5 or bert_model.ckpt.index "
        "with its .data files there"
    )


def _require_places(
    file: TensorFile, names: dict[str, list[str]], targets: dict[str, Target]
) -> None:
    """Raises InputError unless each tensor has a target and each target a tensor."""
    unknown = [name for place in names if place not in targets for name in names[place]]
    if unknown:
        raise InputError(
            f"{file.path}: tensor {_first(unknown)} has no place in a BERT encoder; "
            "give the pretrained model, or delete the tensor"
        )
    missing = [place for place in targets if place not in names]
    if missing:
        raise InputError(
            f"{file.path}: no tensor for {_first(missing)}; fetch the whole model again"
        )


def _require_values(
    file: TensorFile, names: dict[str, list[str]], targets: dict[str, Target]
) -> None:
    """Raises InputError for values that aren't finite, or tensors that differ but should not."""
    for name in (name for place in targets for name in names[place]):
        with np.errstate(over="ignore"):  # a float64 value may be infinite as float32
            is_finite = np.isfinite(file.read(name)).all()
        if not is_finite:
            raise InputError(
                f"{file.path}: tensor {name} holds NaN or infinite values; fetch it again"
            )
    for first, *others in names.values():
        for other in others:
            if not np.array_equal(file.read(first), file.read(other)):
                raise InputError(
                    f"{file.path}: tensors {first} and {other} differ, but a BERT has one for "
                    "both; delete the one that is not wanted"
                )


def _first(names: list[str]) -> str:
    return names[0] + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")


def _require_fit(file: TensorFile, name: str, target: Target) -> None:
    spec = file.specs[name]
    transposed = tensor_names.is_transposed(name)
    if not target.accepts(spec.shape, transposed):
        expected = target.shape[::-1] if transposed else target.shape
        raise InputError(
            f"{file.path}: tensor {name} is {list(spec.shape)}, but the config asks for "
            f"{list(expected)}; {_WHOLE_MODEL}"
        )
    if not spec.is_floating:
        raise InputError(
            f"{file.path}: tensor {name} holds whole numbers; give a model that is not quantized"
        )
