"""The layers composed: a preprocessor (bytes to ids), a core (ids to probabilities), and a run's
files that bring both back."""

import dataclasses
import json
import os

import keras

from covid_lm.backbones.bert import build_backbone
from covid_lm.backbones.cls_encoder import ClsEncoder
from covid_lm.backbones.named import BackboneConfig
from covid_lm.backbones.vocabulary import read_vocabulary, write_vocabulary
from covid_lm.errors import InputError
from covid_lm.layers.feature_extraction import FeatureExtraction
from covid_lm.preprocessor import Preprocessor
from covid_lm.protocols import LAYOUTS, PROTOCOLS

DTYPE_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
WEIGHTS_FILE = os.path.join("checkpoints", "best.weights.h5")


@dataclasses.dataclass(frozen=True)
class ClassifierConfig:
    """All that is needed, with the vocabulary and the weights, to rebuild a classifier."""

    classes: tuple[str, ...]
    backbone_name: str
    backbone: BackboneConfig
    protocol: str = "paper"
    layout: str = "paper"
    head: int = 256
    tail: int = 256
    reading: str = "decimal"
    fixed_length: int = 24
    dropout: float = 0.05
    dtype: str = "float32"
    weights: str | None = None

    @property
    def training_policy(self) -> str:
        return PROTOCOLS[self.protocol][0]

    @property
    def test_policy(self) -> str:
        return PROTOCOLS[self.protocol][1]

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "ClassifierConfig":
        backbone = BackboneConfig(**values["backbone"])
        return cls(**{**values, "backbone": backbone, "classes": tuple(values["classes"])})


class Classifier:
    """One image classifier, live.

    Attributes:
        config, vocabulary: what it was built from.
        backbone: the `BertBackbone` that owns the encoder's weights.
        logits: keras Model, token ids to float32 logits [batch, classes]: what is trained.
        core: keras Model, token ids to float32 probabilities [batch, classes].
        embedding: keras Model, token ids to the [CLS] vector [batch, hidden_dim].

    The three models take `token_ids`, `segment_ids` and `padding_mask`, int32 [batch, length],
    and share every weight.

    Args:
        dtype_policy: Keras policy of weights and arithmetic; the one of `config.dtype`, in which
            weights are float32, unless given.
    """

    def __init__(
        self,
        config: ClassifierConfig,
        vocabulary: tuple[str, ...],
        dtype_policy: str | None = None,
    ):
        self.config = config
        self.vocabulary = vocabulary
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
            name: keras.Input((length,), dtype="int32", name=name)
            for name in ("token_ids", "segment_ids", "padding_mask")
        }
        embedding = encoder(inputs)
        logits = head(embedding)
        self.embedding = keras.Model(inputs, embedding, name="embedding")
        self.logits = keras.Model(inputs, logits, name="logits")
        self.core = keras.Model(inputs, keras.ops.softmax(logits), name="core")

    def preprocessor(self, policy: str | None = None) -> Preprocessor:
        """The preprocessor under a metadata policy, by default the one of the test phase."""
        config = self.config
        policy = policy or config.test_policy
        if policy not in self._preprocessors:
            self._preprocessors[policy] = Preprocessor(
                vocabulary=self.vocabulary,
                policy=policy,
                reading=config.reading,
                head=config.head,
                tail=config.tail,
                fixed_length=config.fixed_length,
                **LAYOUTS[config.layout],
            )
        return self._preprocessors[policy]

    def save_weights(self, directory: str) -> None:
        """Writes the weights below a run's directory, beside and then renamed."""
        path = os.path.join(directory, WEIGHTS_FILE)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        staged = f"{path.removesuffix('.weights.h5')}.part.weights.h5"
        self.logits.save_weights(staged)
        os.replace(staged, path)

    def save_config(self, directory: str, run: dict) -> None:
        """Writes `config.json` (the classifier's config and what `run` tells) and `vocab.txt`."""
        with open(os.path.join(directory, "config.json"), "w", encoding="utf-8") as file:
            json.dump({"classifier": self.config.to_dict(), "run": run}, file, indent=2)
        write_vocabulary(self.vocabulary, os.path.join(directory, "vocab.txt"))

    @classmethod
    def load(cls, directory: str) -> "Classifier":
        """Rebuilds the classifier of a finished run.

        Args:
            directory: `saved_models/NAME/run`.

        Raises:
            InputError: no run there, or one that is damaged.
        """
        try:
            with open(os.path.join(directory, "config.json"), encoding="utf-8") as file:
                config = ClassifierConfig.from_dict(json.load(file)["classifier"])
        except FileNotFoundError:
            raise InputError(f"{directory}: no finished run (no config.json in it)") from None
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{directory}/config.json: damaged ({error})") from None
        classifier = cls(config, read_vocabulary(os.path.join(directory, "vocab.txt")))
        path = os.path.join(directory, WEIGHTS_FILE)
        try:
            classifier.logits.load_weights(path)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: can't be loaded ({str(error).splitlines()[0]})") from None
        return classifier
