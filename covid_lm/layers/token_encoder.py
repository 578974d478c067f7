"""Functional layer 4, Encoder (paper, section 3.1): symbols to vocabulary ids."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from covid_lm.errors import InputError
from covid_lm.layers import symbols
from covid_lm.layers.tensorflow_layer import TensorFlowLayer


def symbol_token_ids(vocabulary: Sequence[str]) -> np.ndarray:
    """Returns the vocabulary id of each symbol, int32 [516].

    A channel value v is encoded as the word `str(v)`, a byte of the name as a lower-cased ASCII
    character, or as [UNK] if the vocabulary lacks it or the byte is above 127.

    Raises:
        InputError: the vocabulary lacks the word for a channel value, or a special token.
    """
    ids = {word: token_id for token_id, word in enumerate(vocabulary)}
    values = [str(value) for value in range(256)]
    missing = [w for w in ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", *values) if w not in ids]
    if missing:
        raise InputError(
            f"the vocabulary has no word for {missing[0]!r} ({len(missing)} missing in all); "
            "use another vocabulary"
        )
    characters = [chr(code).lower() for code in range(256)]
    name = [character if character.isascii() else "[UNK]" for character in characters]
    words = [*values, *name, "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
    return np.array([ids.get(word, ids["[UNK]"]) for word in words], np.int32)  # [516]


@keras.saving.register_keras_serializable("covid_lm")
class TokenEncoder(TensorFlowLayer):
    """Looks up each symbol in the vocabulary.

    Args:
        vocabulary: the words, index = id.
    """

    def __init__(self, vocabulary: Sequence[str], **kwargs: Any):
        super().__init__(**kwargs)
        self.vocabulary = tuple(vocabulary)
        self._token_ids = symbol_token_ids(vocabulary)

    @property
    def reachable_token_ids(self) -> np.ndarray:
        """The sorted ids that images and names can produce; no other embedding row is used."""
        return np.unique(self._token_ids)

    def call(self, sequence: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Encodes a batch.

        Args:
            sequence: `symbols`, int32 [batch, length] or [batch, length, bytes], and
                `segment_ids`, int32 [batch, length].

        Returns:
            `token_ids`, int32, of the symbols' shape; `segment_ids` and `padding_mask` (1: in
            use), int32 [batch, length].
        """
        words = sequence["symbols"]
        first = words if words.shape.rank == 2 else words[..., 0]
        return {
            "token_ids": tf.gather(tf.constant(self._token_ids), words),
            "segment_ids": sequence["segment_ids"],
            "padding_mask": tf.cast(first != symbols.PAD, tf.int32),
        }
