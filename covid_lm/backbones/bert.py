"""BertBackbone, the weights' owner. The one place where keras-nlp is imported."""

import keras
from keras import ops
from keras_nlp.models import BertBackbone

from covid_lm.backbones.named import BackboneConfig


def gelu(x):
    """The exact GELU, x * P(X <= x) for a standard normal X (Hendrycks & Gimpel 2016).

    Written with erf, because the form with erfc that Keras uses keeps TensorFlow from fusing it
    with the matmul before it.
    """
    return (ops.erf(x * 0.5**0.5) + 1) * 0.5 * x


ACTIVATIONS = {
    "gelu": gelu,
    "gelu_approximate": lambda x: keras.activations.gelu(x, approximate=True),
    "relu": keras.activations.relu,
}


def build_backbone(
    config: BackboneConfig, dtype: str | keras.DTypePolicy | None = None
) -> BertBackbone:
    """A randomly initialized `BertBackbone` of the given shape.

    The library's own forward pass knows only the tanh GELU and epsilon 1e-12; `config.activation`
    and `config.layer_norm_epsilon` are read by `ClsEncoder`, which computes from these weights.
    """
    return BertBackbone(
        vocabulary_size=config.vocabulary_size,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        hidden_dim=config.hidden_dim,
        intermediate_dim=config.intermediate_dim,
        dropout=config.dropout,
        max_sequence_length=config.max_sequence_length,
        num_segments=config.num_segments,
        dtype=dtype,
        name="backbone",
    )
