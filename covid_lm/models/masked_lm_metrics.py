"""The masked-token objective's loss, and its figures as sums over every masked token.

Targets are those of `TokenMasking`: int [batch, masked, 2], a word's index and its kind.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from covid_lm.layers.token_masking import IMAGE, NAME


def masked_token_loss(targets, logits):
    """Cross-entropy of every slot (paper, equation 1), in nats.

    Keras takes the mean over slots and devices, which is the mean over the masked tokens under the
    weights that `MaskedTokens` gives beside the targets.

    Args:
        targets: [batch, masked, 2], of any type.
        logits: float32 [batch, masked, words].

    Returns:
        float32 [batch, masked].
    """
    return _cross_entropy(ops.cast(targets, "int32"), logits)


def masked_token_metrics() -> list[keras.metrics.Metric]:
    """`cross_entropy` (the exact loss of an epoch), `accuracy`, and that of image and name tokens.

    A kind without tokens has an accuracy of 0.
    """
    return [
        MaskedTokenMean(_cross_entropy, (IMAGE, NAME), name="cross_entropy"),
        MaskedTokenMean(_is_right, (IMAGE, NAME), name="accuracy"),
        MaskedTokenMean(_is_right, (IMAGE,), name="image_accuracy"),
        MaskedTokenMean(_is_right, (NAME,), name="name_accuracy"),
    ]


class MaskedTokenMean(keras.metrics.Mean):
    """The mean of a function over the masked tokens of some kinds.

    Args:
        function: (targets, logits) to [batch, masked].
        kinds: of the tokens that count.
    """

    def __init__(self, function: Callable, kinds: tuple[int, ...], name: str):
        super().__init__(name=name, dtype="float32")
        self.function = function
        self.kinds = kinds

    def update_state(self, targets, logits, sample_weight=None):
        targets = ops.cast(targets, "int32")
        super().update_state(self.function(targets, logits), _is_kind(targets, self.kinds))


def _is_kind(targets: Any, kinds: tuple[int, ...]) -> Any:
    """float32 [batch, masked], 1 or 0."""
    kind = targets[..., 1]
    return ops.cast(sum(ops.cast(kind == one, "int32") for one in kinds), "float32")


def _cross_entropy(targets, logits):
    return ops.sparse_categorical_crossentropy(targets[..., 0], logits, from_logits=True)


def _is_right(targets, logits):
    return ops.cast(ops.argmax(logits, axis=-1) == targets[..., 0], "float32")
