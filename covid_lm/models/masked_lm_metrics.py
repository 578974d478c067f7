"""Loss and metrics of the masked-token objective (paper, section 3.2, equation 1).

Targets are those of `TokenMasking`: int [batch, masked, 2], the word's index and its kind.
"""

from collections.abc import Callable

import keras
from keras import ops

from covid_lm.layers.token_masking import IMAGE, NAME


def masked_token_loss(targets, logits):
    """Computes the cross-entropy of each slot, in nats.

    Keras averages it with the sample weights of `MaskedTokens`, thus over the masked tokens.

    Args:
        targets: [batch, masked, 2], of any type.
        logits: float32 [batch, masked, words].

    Returns:
        float32 [batch, masked].
    """
    words = ops.cast(targets[..., 0], "int32")
    return ops.sparse_categorical_crossentropy(words, logits, from_logits=True)


def masked_token_metrics() -> list[keras.metrics.Metric]:
    """Returns the metrics of an epoch: exact cross-entropy, and accuracy in all and by kind.

    A kind without tokens has an accuracy of 0.
    """
    return [
        MaskedTokenMean(masked_token_loss, (IMAGE, NAME), name="cross_entropy"),
        MaskedTokenMean(_is_right, (IMAGE, NAME), name="accuracy"),
        MaskedTokenMean(_is_right, (IMAGE,), name="image_accuracy"),
        MaskedTokenMean(_is_right, (NAME,), name="name_accuracy"),
    ]


class MaskedTokenMean(keras.metrics.Mean):
    """Mean of a function over the masked tokens of certain kinds.

    Args:
        function: (targets, logits) to [batch, masked].
        kinds: kinds of the tokens that are averaged.
    """

    def __init__(self, function: Callable, kinds: tuple[int, ...], name: str):
        super().__init__(name=name, dtype="float32")
        self.function = function
        self.kinds = kinds

    def update_state(self, targets, logits, sample_weight=None):
        targets = ops.cast(targets, "int32")
        is_kind = sum(ops.cast(targets[..., 1] == kind, "float32") for kind in self.kinds)
        super().update_state(self.function(targets, logits), is_kind)


def _is_right(targets, logits):
    return ops.cast(ops.argmax(logits, axis=-1) == targets[..., 0], "float32")
