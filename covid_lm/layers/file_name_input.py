"""Functional layer 1, Input (paper, section 3.1), the file name, under a metadata policy."""

from typing import Any

import keras
import tensorflow as tf

from covid_lm.layers import symbols

POLICIES = ("visible", "masked", "fixed", "absent")


@keras.saving.register_keras_serializable("covid_lm")
class FileNameInput(keras.layers.Layer):
    """What stands between the two [SEP].

    - `visible`: the name's bytes, one symbol each.
    - `masked`: one [MASK] per byte of the name (the paper's test phase, section 3.5).
    - `fixed`: `fixed_length` [MASK]s whatever the name, so that its length tells nothing.
    - `absent`: nothing.

    Args:
        policy: one of the above.
        fixed_length: number of [MASK]s under `fixed`.
        max_length: of a longer name the last `max_length` bytes are read. No file system knows
            names of 1024 bytes; the bound keeps one request from swelling its whole batch.
    """

    def __init__(
        self, policy: str = "visible", fixed_length: int = 24, max_length: int = 1024, **kwargs: Any
    ):
        super().__init__(**kwargs)
        if policy not in POLICIES:
            raise ValueError(f"policy {policy!r}: choose one of {', '.join(POLICIES)}")
        self.policy = policy
        self.fixed_length = fixed_length
        self.max_length = max_length

    @property
    def reads_filename(self) -> bool:
        """Whether the file name, or only its length, has any influence on the symbols."""
        return self.policy in ("visible", "masked")

    def call(self, filename: tf.Tensor) -> dict[str, tf.Tensor]:
        """Turns names into symbols.

        Args:
            filename: string [batch]. Under `fixed` and `absent` any tensor with that batch will
                do: only its first dimension is read.

        Returns:
            `symbols`: int32 [batch, longest], padded with [PAD]; `lengths`: int32 [batch].
        """
        if self.reads_filename:
            name_bytes, lengths = self._name_bytes(filename)
        else:
            batch = tf.shape(filename)[0]
            length = self.fixed_length if self.policy == "fixed" else 0
            name_bytes = tf.zeros([batch, length], tf.int32)
            lengths = tf.fill([batch], length)
        if self.policy == "visible":
            name_symbols = name_bytes + symbols.NAME_OFFSET
        else:
            name_symbols = tf.fill(tf.shape(name_bytes), symbols.MASK)
        inside = tf.sequence_mask(lengths, tf.shape(name_bytes)[1])
        return {"symbols": tf.where(inside, name_symbols, symbols.PAD), "lengths": lengths}

    def _name_bytes(self, filename: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        lengths = tf.strings.length(filename)
        kept = tf.minimum(lengths, self.max_length)
        filename = tf.strings.substr(filename, lengths - kept, kept)
        # decode_raw refuses a width of 0, which a batch of empty names would ask for.
        width = tf.maximum(tf.reduce_max(kept, axis=0), 1)
        return tf.cast(tf.io.decode_raw(filename, tf.uint8, fixed_length=width), tf.int32), kept

    def get_config(self) -> dict:
        return {
            **super().get_config(),
            "policy": self.policy,
            "fixed_length": self.fixed_length,
            "max_length": self.max_length,
        }
