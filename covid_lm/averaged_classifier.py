"""Several finished classifiers as one, whose answer is the mean of theirs."""

import dataclasses
from collections.abc import Sequence

import keras
import tensorflow as tf

from covid_lm.classifier import Classifier, ClassifierConfig
from covid_lm.errors import InputError
from covid_lm.pixel_classifier import PixelClassifier, PixelClassifierConfig, PixelPreprocessor
from covid_lm.preprocessor import Preprocessor

# Of a preprocessor's config, what says nothing about its output.
_KERAS_KEYS = ("name", "trainable", "dtype")


@dataclasses.dataclass(frozen=True)
class AveragedClassifierConfig:
    """The members' configs; what they have in common is read as of any other classifier."""

    members: tuple[ClassifierConfig | PixelClassifierConfig, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, which the members share."""
        return self.members[0].classes

    @property
    def protocol(self) -> str:
        """The members' common one."""
        return self.members[0].protocol

    @property
    def training_policy(self) -> str:
        """How names entered their training."""
        return self.members[0].training_policy

    @property
    def test_policy(self) -> str:
        """How names enter when they answer."""
        return self.members[0].test_policy

    @property
    def layout(self) -> str:
        """The members' common one."""
        return self.members[0].layout

    @property
    def views(self) -> int:
        """Views that each member's answer is the mean of."""
        return self.members[0].views

    @property
    def backbone_name(self) -> str:
        """Each member's, as "tiny + tiny"."""
        return " + ".join(member.backbone_name for member in self.members)

    @property
    def weights(self) -> str | None:
        """Where the members' weights were from at the start; None if all were random."""
        sources = dict.fromkeys(member.weights or "random" for member in self.members)
        return None if list(sources) == ["random"] else ", ".join(sources)

    @property
    def dtype(self) -> str:
        """The coarsest of the members'."""
        coarse = any(member.dtype == "bfloat16" for member in self.members)
        return "bfloat16" if coarse else "float32"

    def to_dict(self) -> dict:
        """For `config.json`: the members' configs."""
        return {"members": [member.to_dict() for member in self.members]}


class AveragedClassifier:
    """Classifiers that read the same sequences, as one; its parts are named as `Classifier`'s are.

    Attributes:
        config, members: what it was built from.
        core: keras Model of the members' core inputs to the mean of their probabilities, float32
            [batch, classes].
        logits: keras Model of the same inputs to the mean's logarithm; owns every weight.
        embedding: keras Model of the same inputs to the members' embeddings, one behind the other:
            their axes have nothing in common that a mean could be of.

    Args:
        members: two or more, which `require_same_sequences` lets pass.
    """

    def __init__(self, members: Sequence[Classifier | PixelClassifier]):
        first = members[0]
        self.members = tuple(members)
        self.config = AveragedClassifierConfig(tuple(member.config for member in members))
        self.input_keys, self.reads_tokens = first.input_keys, first.reads_tokens

        def new_inputs() -> dict:
            return {
                key: keras.Input(tensor.shape[1:], dtype=tensor.dtype, name=key)
                for key, tensor in first.core.input.items()
            }

        inputs = new_inputs()
        probabilities: list[keras.KerasTensor] = []
        embeddings: list[keras.KerasTensor] = []
        for number, member in enumerate(members):
            # The members' models have the same names, which one model could not hold twice.
            for part, outputs in ((member.core, probabilities), (member.embedding, embeddings)):
                own = new_inputs()
                named = keras.Model(own, part(own), name=f"{part.name}_{number}")
                outputs.append(named(inputs))
        mean = sum(probabilities) / len(members)
        self.core = keras.Model(inputs, mean, name="core")
        self.logits = keras.Model(inputs, keras.ops.log(mean), name="logits")
        self.embedding = keras.Model(
            inputs, keras.ops.concatenate(embeddings, axis=1), name="embedding"
        )

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """The members' common one; none of classifiers that read pixels."""
        return self.members[0].vocabulary if self.members[0].reads_tokens else ()

    def preprocessor(
        self, policy: str | None = None, views: int | None = None
    ) -> Preprocessor | PixelPreprocessor:
        """The one that all members share."""
        return self.members[0].preprocessor(policy, views)

    def serving_copy(self, dtype: str) -> "AveragedClassifier":
        """A copy of copies: see the members' own."""
        return AveragedClassifier([member.serving_copy(dtype) for member in self.members])

    def core_inputs(self, preprocessed: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What the models take, of what the preprocessor gives."""
        return self.members[0].core_inputs(preprocessed)


AnyClassifier = Classifier | PixelClassifier | AveragedClassifier
TokenClassifier = Classifier | AveragedClassifier


def require_same_sequences(classifiers: dict[str, Classifier | PixelClassifier]) -> None:
    """Lets classifiers pass that read the same inputs for the same classes.

    Args:
        classifiers: a run's name to its classifier.

    Raises:
        InputError: names the first run that differs from the one before all others, and in what.
    """
    (first_name, first), *others = (
        (name, _reading(classifier)) for name, classifier in classifiers.items()
    )
    for name, reading in others:
        for key in {**first, **reading}:
            if first.get(key) != reading.get(key):
                raise InputError(
                    f"--run={name}: its {key} is not that of {first_name}; only runs that read "
                    "the same sequences can be averaged"
                )


def _reading(classifier: Classifier | PixelClassifier) -> dict:
    config = classifier.preprocessor().get_config()
    reading = {key: value for key, value in config.items() if key not in _KERAS_KEYS}
    common = {key: getattr(classifier.config, key) for key in ("classes", "protocol", "views")}
    return {"kind": type(classifier).__name__, **common, **reading}
