"""The layers composed: a preprocessor (bytes to ids) and a core (ids to probabilities)."""

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
    """All that is needed, with the vocabulary and the weights, to rebuild a classifier."""

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

    def to_dict(self) -> dict:
        """What `from_dict` takes, ready for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "TokenClassifierConfig":
        """The config from what `to_dict` gave; KeyError or TypeError for anything else."""
        backbone = BackboneConfig(**values["backbone"])
        return cls(**{**values, "backbone": backbone, "classes": tuple(values["classes"])})


class TokenClassifier:
    """One image classifier, live.

    Attributes:
        config, vocabulary: what it was built from.
        backbone: the `BertBackbone` that owns the encoder's weights.
        logits: keras Model, token ids to float32 logits [batch, classes]: what is trained.
        core: keras Model, token ids to float32 probabilities [batch, classes].
        embedding: keras Model, token ids to the [CLS] vector [batch, hidden_dim].
        embedding_rows: int32 [vocabulary], from a token's id to its row of the embedding table,
            where a `serving_copy` has fewer rows than words; None where they are the same.

    The three models take `token_ids`, `segment_ids` and `padding_mask`, int32 [batch, length],
    and share every weight.

    Args:
        dtype_policy: Keras policy of weights and arithmetic; the one of `config.dtype`, in which
            weights are float32, unless given.
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
        inputs = {
            name: keras.Input((length,), dtype="int32", name=name) for name in self.input_keys
        }
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
        """A copy that holds the embedding rows that tokens can reach, and nothing of the others.

        Args:
            dtype: of the copy's weights and arithmetic, "float32" or "bfloat16".
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
        """What core and embedding take, of what the preprocessor gives."""
        inputs = {key: preprocessed[key] for key in self.input_keys}
        if self.embedding_rows is not None:
            rows = tf.constant(self.embedding_rows)
            inputs["token_ids"] = tf.gather(rows, inputs["token_ids"])
        return inputs
