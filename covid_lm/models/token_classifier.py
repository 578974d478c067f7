"""The paper's classifier (figure 1): a preprocessor (bytes to ids) and a core (ids to classes)."""

import dataclasses
from typing import Literal, cast

import keras
import numpy as np
import tensorflow as tf

from covid_lm.backbones.bert_encoder import build_backbone
from covid_lm.backbones.cls_encoder import ClsEncoder
from covid_lm.backbones.configs import BackboneConfig
from covid_lm.layers.feature_extraction import FeatureExtraction
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.protocols import DTYPE_POLICIES, LAYOUTS, PROTOCOLS, Layout


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
    fixed_length: int = 24
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
        backbone = BackboneConfig(**values["backbone"])
        return cls(**{**values, "backbone": backbone, "classes": tuple(values["classes"])})


class TokenClassifier:
    """An image classifier that reads tokens.

    Attributes:
        backbone: the `BertBackbone` that owns the encoder's weights.
        logits: keras Model, token ids to float32 logits [batch, classes]; this is what is trained.
        core: keras Model, token ids to float32 probabilities [batch, classes].
        embedding: keras Model, token ids to the [CLS] vector [batch, hidden_dim].
        embedding_rows: int32 [vocabulary], row of the embedding table for each token id in a
            `serving_copy`, whose table is smaller; None in other classifiers.

    The three models take `token_ids`, `segment_ids` and `padding_mask`, int32 [batch, length],
    and share all weights.

    Args:
        vocabulary: words, index = id.
        dtype_policy: Keras policy of weights and arithmetic; that of `config.dtype` by default.
    """

    input_keys = ("token_ids", "segment_ids", "padding_mask")
    reads_tokens: Literal[True] = True

    def __init__(
        self,
        config: TokenClassifierConfig,
        vocabulary: tuple[str, ...],
        dtype_policy: str | None = None,
    ):
        self.config = config
        self.vocabulary = vocabulary
        self.embedding_rows: np.ndarray | None = None
        self._preprocessors: dict[str, Preprocessor] = {}
        policy = dtype_policy or DTYPE_POLICIES[config.dtype]
        self.backbone = build_backbone(config.backbone, dtype=policy)
        encoder = ClsEncoder(
            self.backbone,
            activation=config.backbone.activation,
            layer_norm_epsilon=config.backbone.layer_norm_epsilon,
            dtype=policy,
            name="cls_encoder",
        )
        head = FeatureExtraction(
            len(config.classes), config.dropout, dtype=policy, name="feature_extraction"
        )
        length = config.head + config.tail
        inputs = {key: keras.Input((length,), dtype="int32", name=key) for key in self.input_keys}
        embedding = encoder(inputs)
        logits = head(embedding)
        self.embedding = keras.Model(inputs, embedding, name="embedding")
        self.logits = keras.Model(inputs, logits, name="logits")
        probabilities = keras.ops.softmax(logits)
        self.core = keras.Model(inputs, probabilities, name="core")

    def preprocessor(self, policy: str | None = None) -> Preprocessor:
        """The preprocessor under a metadata policy, by default the one of the test phase."""
        config = self.config
        policy = policy or config.test_policy
        if policy not in self._preprocessors:
            layout = {**LAYOUTS[config.layout], "head": config.head, "tail": config.tail}
            self._preprocessors[policy] = Preprocessor(
                vocabulary=self.vocabulary,
                policy=policy,
                fixed_length=config.fixed_length,
                **cast(Layout, layout),
            )
        return self._preprocessors[policy]

    def serving_copy(self, dtype: str) -> "TokenClassifier":
        """Returns a copy with only the embedding rows that tokens can reach.

        Args:
            dtype: weights and arithmetic of the copy, "float32" or "bfloat16".
        """
        reachable = self.preprocessor().token_encoder.reachable_token_ids
        backbone = dataclasses.replace(self.config.backbone, vocabulary_size=len(reachable))
        config = dataclasses.replace(self.config, backbone=backbone)
        copy = TokenClassifier(config, self.vocabulary, dtype_policy=dtype)
        copy.embedding_rows = np.zeros(len(self.vocabulary), np.int32)
        copy.embedding_rows[reachable] = np.arange(len(reachable))
        embeddings = self.backbone.token_embedding.embeddings
        for source, target in zip(self.logits.variables, copy.logits.variables, strict=True):
            value = tf.gather(source, reachable) if source is embeddings else source
            target.assign(tf.cast(value, target.dtype))
        return copy

    def core_inputs(self, preprocessed: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Selects the inputs of core and embedding from the preprocessor's outputs."""
        inputs = {key: preprocessed[key] for key in self.input_keys}
        if self.embedding_rows is not None:
            rows = tf.constant(self.embedding_rows)
            inputs["token_ids"] = tf.gather(rows, inputs["token_ids"])
        return inputs
