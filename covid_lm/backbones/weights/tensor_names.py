"""BERT's tensor names in the three formats, and the variables of a `BertBackbone` they belong to.

The canonical name is that of the original release without its scopes `bert/` and `cls/`:
`encoder/layer_0/attention/self/query/kernel`, `predictions/output_bias`.
"""

import dataclasses
import math
import operator
import re
from collections.abc import Collection, Mapping

import keras
import numpy as np
from keras_nlp.models import BertBackbone

_IGNORED = re.compile(
    r"global_step$"
    r"|.*/adam_[mv]$"  # the optimizer's state
    r"|embeddings/position_ids$"  # the constant 0..511
    r"|seq_relationship/"  # the next-sentence head: these sequences have no next sentence
)
WORD_EMBEDDINGS = "embeddings/word_embeddings"

# Key in `LoadedWeights.masked_lm_head` -> canonical name. The decoder's kernel is the word
# embeddings.
MASKED_LM_HEAD = {
    "transform_kernel": "predictions/transform/dense/kernel",
    "transform_bias": "predictions/transform/dense/bias",
    "layer_norm_gamma": "predictions/transform/LayerNorm/gamma",
    "layer_norm_beta": "predictions/transform/LayerNorm/beta",
    "decoder_bias": "predictions/output_bias",
}

# Replacements that make any format's name canonical, in this order.
_RENAMES = (
    (r":0$", ""),
    (r"\blayer[._/]+(\d+)", r"layer_\1"),  # layer.0, layer_._0
    (r"\.", "/"),
    # Scopes of the original release, of Hugging Face's models and of the groups in their HDF5.
    (r"^(?:(?:bert|cls|tf_bert\w*|mlm___cls|nsp___cls)/)+", ""),
    (r"^(embeddings/\w+_embeddings)/(?:weight|embeddings)$", r"\1"),
    (r"LayerNorm/weight$", "LayerNorm/gamma"),
    (r"LayerNorm/bias$", "LayerNorm/beta"),
    (r"/weight$", "/kernel"),
    (r"^predictions/decoder/kernel$", WORD_EMBEDDINGS),
    (r"^predictions/(?:decoder/)?bias$", MASKED_LM_HEAD["decoder_bias"]),
)

# Scope within a transformer layer -> attribute of the backbone's layer.
_BLOCK = {
    "attention/self/query": "_self_attention_layer.query_dense",
    "attention/self/key": "_self_attention_layer.key_dense",
    "attention/self/value": "_self_attention_layer.value_dense",
    "attention/output/dense": "_self_attention_layer.output_dense",
    "attention/output/LayerNorm": "_self_attention_layer_norm",
    "intermediate/dense": "_feedforward_intermediate_dense",
    "output/dense": "_feedforward_output_dense",
    "output/LayerNorm": "_feedforward_layer_norm",
}


@dataclasses.dataclass(frozen=True)
class Target:
    """Destination of a tensor.

    Attributes:
        shape: as a matrix or vector, kernels [inputs, outputs].
        variable: the backbone's variable, in which attention kernels have separate axes for heads
            and head width; None for the masked-LM head, which is not part of the backbone.
    """

    shape: tuple[int, ...]
    variable: keras.Variable | None = None

    def accepts(self, shape: tuple[int, ...], transposed: bool) -> bool:
        """Returns true if a tensor of this shape fits, with or without separate head axes.

        Hugging Face's TensorFlow models of late 2020 have separate axes, too.
        """
        if transposed:
            return shape == self.shape[::-1]
        return shape in (self.shape, self.variable_shape)

    def arrange(self, array: np.ndarray, transposed: bool) -> np.ndarray:
        """Returns the array in the variable's layout, or as a matrix or vector without one."""
        return (array.T if transposed else array).reshape(self.variable_shape)

    @property
    def variable_shape(self) -> tuple[int, ...]:
        """The variable's shape; `shape` without one."""
        return self.shape if self.variable is None else tuple(self.variable.shape)


def canonical_name(name: str) -> str | None:
    """Returns the canonical name of a tensor; None for one that is deliberately ignored.

    A name that isn't a BERT's gives a string that is in no table.
    """
    for pattern, replacement in _RENAMES:
        name = re.sub(pattern, replacement, name)
    return None if _IGNORED.match(name) else name


def is_transposed(name: str) -> bool:
    """Returns true for a tensor that is [outputs, inputs], as in PyTorch's Linear.

    Only the name decides, because most kernels of a BERT are square.
    """
    return name.endswith(".weight") and (canonical_name(name) or "").endswith("/kernel")


def hugging_face_name(place: str) -> str:
    """Returns the name in Hugging Face's `BertForMaskedLM` for a canonical name."""
    scope = "cls" if place.startswith("predictions/") else "bert"
    name = re.sub(r"/layer_(\d+)/", r"/layer/\1/", place)
    if name == MASKED_LM_HEAD["decoder_bias"]:
        name = "predictions/bias"
    elif name.endswith(("_embeddings", "/kernel", "/gamma")):
        name = f"{re.sub('/(kernel|gamma)$', '', name)}/weight"
    elif name.endswith("/beta"):
        name = f"{name.removesuffix('beta')}bias"
    return f"{scope}/{name}".replace("/", ".")


def encoder_targets(backbone: BertBackbone) -> dict[str, Target]:
    """Embeddings and transformer layers: all variables of the backbone except the pooler's."""
    patch_embedding = backbone.patch_embedding
    table = backbone.token_embedding
    if patch_embedding is not None and patch_embedding.patches.own_table:
        table = patch_embedding.table
    tables = {
        WORD_EMBEDDINGS: table.embeddings,
        "embeddings/position_embeddings": backbone.position_embedding.position_embeddings,
        "embeddings/token_type_embeddings": backbone.segment_embedding.embeddings,
    }
    targets = {place: Target(tuple(table.shape), table) for place, table in tables.items()}
    targets |= _layer_targets("embeddings/LayerNorm", backbone.embeddings_layer_norm)
    for index, block in enumerate(backbone.transformer_layers):
        for scope, attribute in _BLOCK.items():
            layer = operator.attrgetter(attribute)(block)
            targets |= _layer_targets(f"encoder/layer_{index}/{scope}", layer)
    if patch_embedding is not None:
        for layer in (patch_embedding.dense, *patch_embedding.convolutions):
            targets |= _layer_targets(f"patch_embedding/{layer.name}", layer)
    return targets


def pooler_targets(backbone: BertBackbone) -> dict[str, Target]:
    """The dense layer after [CLS], which a file may lack."""
    return _layer_targets("pooler/dense", backbone.pooled_dense)


def masked_lm_targets(
    backbone: BertBackbone, variables: Mapping[str, keras.Variable] | None = None
) -> dict[str, Target]:
    """The masked-LM head, which a file may lack; its variables by the keys of `MASKED_LM_HEAD`."""
    width = backbone.hidden_dim
    shapes = {"transform_kernel": (width, width), "decoder_bias": (backbone.vocabulary_size,)}
    return {
        place: Target(shapes.get(key, (width,)), (variables or {}).get(key))
        for key, place in MASKED_LM_HEAD.items()
    }


def _layer_targets(scope: str, layer: keras.layers.Layer) -> dict[str, Target]:
    if isinstance(layer, keras.layers.LayerNormalization):
        variables = {"gamma": layer.gamma, "beta": layer.beta}
        shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    else:
        variables = {"kernel": layer.kernel, "bias": layer.bias}
        outputs = math.prod(layer.bias.shape)
        shapes = {"kernel": (math.prod(layer.kernel.shape) // outputs, outputs), "bias": (outputs,)}
    return {f"{scope}/{name}": Target(shapes[name], variables[name]) for name in variables}


def layer_count(canonical_names: Collection[str]) -> int:
    """Number of transformer layers in the names: the highest index plus one."""
    found = (re.match(r"encoder/layer_(\d+)/", name) for name in canonical_names)
    return max((int(match[1]) + 1 for match in found if match), default=0)
