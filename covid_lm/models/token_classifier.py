"""The paper's classifier (figure 1): a preprocessor (bytes to ids) and a core (ids to classes)."""

import dataclasses
from typing import cast

import keras
import numpy as np
import tensorflow as tf

from covid_lm.backbones.cls_encoder import ClsEncoder
from covid_lm.backbones.configs import BackboneConfig
from covid_lm.backbones.patch_embedding import build_backbone
from covid_lm.backbones.pooled_encoder import MeanEncoder, PooledEncoder
from covid_lm.models.classifier import Classifier
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.protocols import (
    DTYPE_POLICIES,
    FIXED_LENGTH,
    PROTOCOLS,
    Layout,
    layout_arguments,
)

POOLINGS: dict[str, type[PooledEncoder]] = {"cls": ClsEncoder, "mean": MeanEncoder}


@dataclasses.dataclass(frozen=True)
class TokenClassifierConfig:
    """Configuration from which, with vocabulary and weights, a classifier can be rebuilt."""

    classes: tuple[str, ...]
    backbone_name: str
    backbone: BackboneConfig
    protocol: str = "paper"
    layout: str = "paper"
    head: int = 256
    tail: int = 256
    fixed_length: int = FIXED_LENGTH
    pooling: str = "cls"
    dropout: float = 0.05
    dtype: str = "float32"
    weights: str | None = None

    @property
    def training_policy(self) -> str:
        """The metadata policy of the protocol's training phase."""
        return PROTOCOLS[self.protocol][0]

    @property
    def test_policy(self) -> str:
        """The metadata policy of the protocol's test phase."""
        return PROTOCOLS[self.protocol][1]

    @classmethod
    def from_dict(cls, values: dict) -> "TokenClassifierConfig":
        """Rebuilds a config from `dataclasses.asdict`; else KeyError or TypeError."""
        backbone = BackboneConfig.from_dict(values["backbone"])
        return cls(**{**values, "backbone": backbone, "classes": tuple(values["classes"])})


class TokenClassifier(Classifier):
    """An image classifier that reads tokens.

    Its embedding is the [CLS] vector or, with the pooling `mean`, the mean over all tokens.

    Attributes:
        backbone: the `BertBackbone` that owns the encoder's weights.
        encoder: the layer that computes the embedding.
        embedding_rows: int32 [vocabulary], row of the embedding table for each token id in a
            `serving_copy`, whose table is smaller; None in other classifiers.

    The models take `token_ids`, `segment_ids` and `padding_mask`, int32 [batch, length]; with
    patches, `token_ids` is [batch, length, bytes].

    Args:
        vocabulary: words, index = id.
        dtype_policy: Keras policy of weights and arithmetic; that of `config.dtype` by default.
    """

    input_keys = ("token_ids", "segment_ids", "padding_mask")
    reads_tokens = True
    config: TokenClassifierConfig

    def __init__(
        self,
        config: TokenClassifierConfig,
        vocabulary: tuple[str, ...],
        dtype_policy: str | None = None,
    ):
        self.vocabulary = vocabulary
        self.embedding_rows: np.ndarray | None = None
        self._preprocessors: dict[str, Preprocessor] = {}
        policy = dtype_policy or DTYPE_POLICIES[config.dtype]
        self.backbone = build_backbone(config.backbone, dtype=policy)
        self.encoder: PooledEncoder = POOLINGS[config.pooling](
            self.backbone,
            activation=config.backbone.activation,
            layer_norm_epsilon=config.backbone.layer_norm_epsilon,
            stochastic_depth=config.backbone.stochastic_depth,
            name=f"{config.pooling}_encoder",
        )
        length = config.head + config.tail
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(self.input_keys, (length,))
        if config.backbone.patches is not None:
            shapes["token_ids"] += (config.backbone.patches.num_bytes,)
        inputs = {key: keras.Input(n, dtype="int32", name=key) for key, n in shapes.items()}
        super().__init__(config, inputs, self.encoder(inputs), policy)

    def preprocessor(self, policy: str | None = None) -> Preprocessor:
        """See `Classifier`."""
        config = self.config
        policy = policy or config.test_policy
        if policy not in self._preprocessors:
            layout = {**layout_arguments(config.layout), "head": config.head, "tail": config.tail}
            self._preprocessors[policy] = Preprocessor(
                vocabulary=self.vocabulary,
                policy=policy,
                fixed_length=config.fixed_length,
                **cast(Layout, layout),
            )
        return self._preprocessors[policy]

    def serving_copy(self, dtype: str) -> "TokenClassifier":
        """See `Classifier`. The copy has only the embedding rows that tokens can reach."""
        reachable = self.preprocessor().token_encoder.reachable_token_ids
        backbone = dataclasses.replace(self.config.backbone, vocabulary_size=len(reachable))
        config = dataclasses.replace(self.config, backbone=backbone)
        copy = TokenClassifier(config, self.vocabulary, dtype_policy=dtype)
        copy.embedding_rows = np.zeros(len(self.vocabulary), np.int32)
        copy.embedding_rows[reachable] = np.arange(len(reachable))
        copy.assign(self, reachable)
        return copy

    def fix_weights(self) -> None:
        """See `Classifier`."""
        reachable = self.preprocessor().token_encoder.reachable_token_ids
        self.encoder.fix_weights(reachable if self.embedding_rows is None else None)

    def core_inputs(self, preprocessed: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """See `Classifier`."""
        inputs = super().core_inputs(preprocessed)
        if self.embedding_rows is not None:
            rows = tf.constant(self.embedding_rows)
            inputs["token_ids"] = tf.gather(rows, inputs["token_ids"])
        return inputs
