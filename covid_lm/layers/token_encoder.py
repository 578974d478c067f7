"""Functional layer 4, Encoder (paper, section 3.1): symbols to vocabulary ids."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from covid_lm.errors import InputError
from covid_lm.layers import symbols

READINGS = ("decimal", "latin1")


def symbol_token_ids(
    vocabulary: Sequence[str], reading: str = "decimal", levels: int = 256
) -> np.ndarray:
    """The vocabulary id of every symbol, int32 [516].

    `decimal` reads channel value v as the word `str(v)`; `latin1` as the v-th Latin-1 character,
    lower-cased, [UNK] where the vocabulary has no such word. A name's byte is a lower-cased ASCII
    character, else [UNK]. With fewer than 256 `levels`, that many equal intervals of values, every
    value is read as the middle one of its interval, the upper of two: a word with a meaning of its
    own in pretrained weights, unlike an interval's number.

    Raises:
        InputError: a channel value has no word of its own (`decimal`), or a special token is
            missing.
    """
    ids = {word: token_id for token_id, word in enumerate(vocabulary)}
    missing = [w for w in ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]") if w not in ids]
    if reading == "decimal":
        missing += [str(value) for value in range(256) if str(value) not in ids]
    if missing:
        raise InputError(
            f"the vocabulary has no word for {missing[0]!r} ({len(missing)} missing in all); "
            "use another vocabulary or, for channel values, the latin1 reading"
        )
    characters = [chr(code).lower() for code in range(256)]
    width = 256 // levels
    middles = [value // width * width + width // 2 for value in range(256)]
    values = [str(v) if reading == "decimal" else characters[v] for v in middles]
    name = [character if character.isascii() else "[UNK]" for character in characters]
    words = [*values, *name, "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
    return np.array([ids.get(word, ids["[UNK]"]) for word in words], np.int32)  # [516]


@keras.saving.register_keras_serializable("covid_lm")
class TokenEncoder(keras.layers.Layer):
    """Looks every symbol up in the vocabulary.

    Args:
        vocabulary: the words; a word's index is its id.
        reading: how a channel value is read, `decimal` or `latin1` (see `symbol_token_ids`).
        levels: how many values are told apart, a divisor of 256.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        reading: str = "decimal",
        levels: int = 256,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if levels < 1 or 256 % levels:
            raise ValueError(f"levels must divide 256, got {levels}")
        if reading not in READINGS:
            raise ValueError(f"reading {reading!r}: choose one of {', '.join(READINGS)}")
        self.vocabulary = tuple(vocabulary)
        self.reading = reading
        self.levels = levels
        self._token_ids = symbol_token_ids(vocabulary, reading, levels)

    @property
    def reachable_token_ids(self) -> np.ndarray:
        """The sorted ids that any image and name can become; no other embedding row is read."""
        return np.unique(self._token_ids)

    @property
    def image_token_ids(self) -> np.ndarray:
        """The sorted ids that a channel value can become."""
        return np.unique(self._token_ids[:256])

    def call(self, sequence: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Encodes.

        Args:
            sequence: `symbols` and `segment_ids`, int32 [batch, length].

        Returns:
            `token_ids`, `segment_ids` and `padding_mask` (1: in use), int32 [batch, length].
        """
        return {
            "token_ids": tf.gather(tf.constant(self._token_ids), sequence["symbols"]),
            "segment_ids": sequence["segment_ids"],
            "padding_mask": tf.cast(sequence["symbols"] != symbols.PAD, tf.int32),
        }

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "vocabulary": list(self.vocabulary),
            "reading": self.reading,
            "levels": self.levels,
        }
