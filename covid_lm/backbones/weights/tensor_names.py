"""BERT's tensor names, as every format spells them, and where each goes in a `BertBackbone`.

The canonical name is the original release's without its scopes `bert/` and `cls/`:
`encoder/layer_0/attention/self/query/kernel`, `predictions/output_bias`.
"""

import dataclasses
import re
from collections.abc import Collection

import keras
import numpy as np

from covid_lm.backbones.bert_encoder import BertBackbone

# The scopes that may stand before a tensor's place in the model: those of the original release,
# of Hugging Face's models, and of the layer groups in their HDF5 files.
_SCOPES = re.compile(r"^(?:(?:bert|cls|tf_bert\w*|mlm___cls|nsp___cls)/)+")
_IGNORED = re.compile(
    r"global_step$"
    r"|.*/adam_[mv]$"  # the optimizer's memory
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


@dataclasses.dataclass(frozen=True)
class Target:
    """Where a tensor goes.

    Attributes:
        shape: as a matrix or vector, kernels [inputs, outputs].
        variable: the backbone's variable, which holds attention kernels with heads and head
            width apart; None for the masked-LM head, which is no part of the backbone.
    """

    shape: tuple[int, ...]
    variable: keras.Variable | None = None

    def accepts(self, shape: tuple[int, ...], transposed: bool) -> bool:
        """Whether a tensor of this shape fits, heads apart or not.

        Hugging Face's TensorFlow models of late 2020 kept heads and head width apart too.
        """
        if transposed:
            return shape == self.shape[::-1]
        return shape == self.shape or (
            self.variable is not None and shape == tuple(self.variable.shape)
        )

    def arrange(self, array: np.ndarray, transposed: bool) -> np.ndarray:
        """The array in the variable's layout (a matrix or vector where there is none)."""
        shape = self.shape if self.variable is None else self.variable.shape
        return (array.T if transposed else array).reshape(shape)


def canonical_name(name: str) -> str | None:
    """The canonical name of a tensor; None for one that is knowingly left out.

    A name that is no BERT's comes back in some form that is in no table.
    """
    name = re.sub(r":0$", "", name)
    name = re.sub(r"\blayer[._/]+(\d+)", r"layer_\1", name)  # layer.0, layer_._0
    name = _SCOPES.sub("", name.replace(".", "/"))
    if _IGNORED.match(name):
        return None
    name = re.sub(r"^(embeddings/\w+_embeddings)/(?:weight|embeddings)$", r"\1", name)
    if name.endswith("LayerNorm/weight"):
        name = name.removesuffix("weight") + "gamma"
    elif name.endswith("LayerNorm/bias"):
        name = name.removesuffix("bias") + "beta"
    elif name.endswith("/weight"):
        name = name.removesuffix("weight") + "kernel"
    if name == "predictions/decoder/kernel":
        return WORD_EMBEDDINGS
    if name in ("predictions/bias", "predictions/decoder/bias"):
        return MASKED_LM_HEAD["decoder_bias"]
    return name


def is_transposed(name: str) -> bool:
    """Whether the file's tensor of this name is [outputs, inputs], as PyTorch's Linear keeps it.

    The name alone tells, and must: most kernels of a BERT are square.
    """
    return name.endswith(".weight") and (canonical_name(name) or "").endswith("/kernel")


def hugging_face_name(place: str) -> str:
    """The name of a canonical name's tensor in Hugging Face's `BertForMaskedLM`."""
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
    """Embeddings and transformer layers: every variable of the backbone but the pooler's."""
    width = backbone.hidden_dim
    tokens = (backbone.vocabulary_size, width)
    positions = (backbone.max_sequence_length, width)
    segments = (backbone.num_segments, width)
    targets = {
        WORD_EMBEDDINGS: Target(tokens, backbone.token_embedding.embeddings),
        "embeddings/position_embeddings": Target(
            positions, backbone.position_embedding.position_embeddings
        ),
        "embeddings/token_type_embeddings": Target(segments, backbone.segment_embedding.embeddings),
        **_layer_norm("embeddings/LayerNorm", backbone.embeddings_layer_norm, width),
    }
    for index, block in enumerate(backbone.transformer_layers):
        targets |= _block(f"encoder/layer_{index}", block, width, backbone.intermediate_dim)
    return targets


def pooler_targets(backbone: BertBackbone) -> dict[str, Target]:
    """The dense layer after [CLS], which a file may lack."""
    return _dense("pooler/dense", backbone.pooled_dense, backbone.hidden_dim, backbone.hidden_dim)


def masked_lm_targets(backbone: BertBackbone) -> dict[str, Target]:
    """The masked-LM head, which a file may lack."""
    width = backbone.hidden_dim
    return {
        MASKED_LM_HEAD["transform_kernel"]: Target((width, width)),
        MASKED_LM_HEAD["transform_bias"]: Target((width,)),
        MASKED_LM_HEAD["layer_norm_gamma"]: Target((width,)),
        MASKED_LM_HEAD["layer_norm_beta"]: Target((width,)),
        MASKED_LM_HEAD["decoder_bias"]: Target((backbone.vocabulary_size,)),
    }


def layer_count(canonical_names: Collection[str]) -> int:
    """How many transformer layers the names speak of: the highest index plus one."""
    found = (re.match(r"encoder/layer_(\d+)/", name) for name in canonical_names)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def _block(
    scope: str, block: keras.layers.Layer, width: int, intermediate: int
) -> dict[str, Target]:
    attention = block._self_attention_layer
    return {
        **_dense(f"{scope}/attention/self/query", attention.query_dense, width, width),
        **_dense(f"{scope}/attention/self/key", attention.key_dense, width, width),
        **_dense(f"{scope}/attention/self/value", attention.value_dense, width, width),
        **_dense(f"{scope}/attention/output/dense", attention.output_dense, width, width),
        **_layer_norm(
            f"{scope}/attention/output/LayerNorm", block._self_attention_layer_norm, width
        ),
        **_dense(
            f"{scope}/intermediate/dense",
            block._feedforward_intermediate_dense,
            width,
            intermediate,
        ),
        **_dense(f"{scope}/output/dense", block._feedforward_output_dense, intermediate, width),
        **_layer_norm(f"{scope}/output/LayerNorm", block._feedforward_layer_norm, width),
    }


def _dense(scope: str, layer: keras.layers.Layer, inputs: int, outputs: int) -> dict[str, Target]:
    return {
        f"{scope}/kernel": Target((inputs, outputs), layer.kernel),
        f"{scope}/bias": Target((outputs,), layer.bias),
    }


def _layer_norm(
    scope: str, layer: keras.layers.LayerNormalization, width: int
) -> dict[str, Target]:
    return {
        f"{scope}/gamma": Target((width,), layer.gamma),
        f"{scope}/beta": Target((width,), layer.beta),
    }
