"""Functional layer 1, Input (paper, section 3.1): the file name, under a metadata policy."""

from typing import Any

import keras
import tensorflow as tf

from covid_lm.layers import symbols
from covid_lm.layers.tensorflow_layer import TensorFlowLayer

POLICIES = ("visible", "masked", "fixed", "absent")

# Only the last bytes of a longer name are read. No file system allows names of 1024 bytes; the
# limit stops one request from enlarging its batch.
MAX_NAME_BYTES = 1024


@keras.saving.register_keras_serializable("covid_lm")
class FileNameInput(TensorFlowLayer):
    """Encodes the file name as the second sentence, between the two [SEP].

    - `visible`: the name's bytes, one symbol each.
    - `masked`: one [MASK] per byte of the name (the paper's test phase, section 3.5).
    - `fixed`: `fixed_length` [MASK]s for every name, which hides its length too.
    - `absent`: no symbols.

    Args:
        policy: one of the above.
        fixed_length: number of [MASK]s under `fixed`.
    """

    def __init__(self, policy: str = "visible", fixed_length: int = 24, **kwargs: Any):
        super().__init__(**kwargs)
        if policy not in POLICIES:
            raise ValueError(f"policy {policy!r}: choose one of {', '.join(POLICIES)}")
        self.policy = policy
        self.fixed_length = fixed_length

    @property
    def reads_filename(self) -> bool:
        """True if the file name, or at least its length, affects the symbols."""
        return self.policy in ("visible", "masked")

    def call(self, filename: tf.Tensor) -> dict[str, tf.Tensor]:
        """Converts names to symbols.

        Args:
            filename: string [batch]. Under `fixed` and `absent` only the batch dimension is read,
                so any tensor of that batch size is accepted.

        Returns:
            `symbols`: int32 [batch, longest], padded with [PAD]; `lengths`: int32 [batch].
        """
        if self.reads_filename:
            all_bytes = tf.strings.length(filename)
            lengths = tf.minimum(all_bytes, MAX_NAME_BYTES)
            kept = tf.strings.substr(filename, all_bytes - lengths, lengths)
            # decode_raw rejects a width of 0, which a batch of empty names would have.
            width = tf.maximum(tf.reduce_max(lengths, axis=0), 1)
            name_bytes = tf.cast(tf.io.decode_raw(kept, tf.uint8, fixed_length=width), tf.int32)
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
