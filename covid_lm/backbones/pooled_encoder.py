"""Encoders that give one vector per sequence; that of all tokens' mean."""

import contextlib
from collections.abc import Callable, Iterator

import keras
from keras import ops

from covid_lm.backbones.bert_encoder import BertEncoder
from covid_lm.backbones.parallel_parts import TokenBlocks


class PooledEncoder(BertEncoder):
    """A BERT's vector for a whole sequence; subclasses compute the last layer.

    Constructor arguments: as `BertEncoder`.

    Call arguments:
        inputs: dict of `token_ids`, `segment_ids` and `padding_mask` (1 for a token, 0 for
            padding), int32 [batch, length], length static; with patches, `token_ids` is
            [batch, length, bytes].
        training: true to apply dropout.

    Returns:
        [batch, hidden_dim] in the compute dtype.
    """

    def _encode(self, inputs, training):
        return self._last_layer(*self._before_last_layer(inputs, training), training)

    def shared_constants(self, scope: Callable) -> contextlib.AbstractContextManager:
        """See `Constants.shared`, if weights are fixed."""
        return self._fixed.constants.shared(scope) if self._fixed else contextlib.nullcontext()

    @contextlib.contextmanager
    def in_blocks(self, count: int) -> Iterator[None]:
        """Within this context, a call computes each block of tokens by operations of its own.

        Batches are then not divided, whatever threads the process has (`in_halves`).
        """
        earlier = self._divides, self._blocks
        self._divides, self._blocks = False, TokenBlocks(count)
        try:
            yield
        finally:
            self._divides, self._blocks = earlier

    def embed_words(self, token_ids):
        """Looks up the embedding of each word, float32.

        Returns:
            [batch, length, hidden_dim]; with patches, of each byte,
            [batch, length, bytes, byte_width].
        """
        if self.backbone.patch_embedding is not None:
            return self.backbone.patch_embedding.embed_bytes(token_ids)
        return ops.take(self.backbone.token_embedding.embeddings, token_ids, axis=0)

    def from_vectors(self, words, segments, padding_mask):
        """Computes the vector from embeddings, in float32 and without dropout.

        For gradients with respect to embeddings, and for points between embeddings. Reads the
        variables, also after `fix_weights`.

        Args:
            words: float32, as `embed_words` returns them.
            segments: float32 [batch, length, hidden_dim], segment embeddings.
            padding_mask: int32 [batch, length].

        Returns:
            float32 [batch, hidden_dim].
        """
        if self.backbone.patch_embedding is not None:
            words = self.backbone.patch_embedding.from_bytes(words)
        fixed, self._fixed = self._fixed, None
        try:
            x = self._normalize_embeddings(words + segments)
            x, bias = self._all_but_last_layer(x, padding_mask, False)
            return self._last_layer(x, bias, False)
        finally:
            self._fixed = fixed

    def _last_layer(self, x, bias, training):
        """Maps x [batch * length, hidden] and the mask's bias [batch, length] to the vector."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape):
        return (input_shape["token_ids"][0], self.backbone.hidden_dim)


@keras.saving.register_keras_serializable(package="covid_lm")
class MeanEncoder(PooledEncoder):
    """Computes the mean of a BERT's output over the tokens in use.

    Constructor and call arguments: as `PooledEncoder`.
    """

    def _last_layer(self, x, bias, training):
        length = bias.shape[-1]
        last = self.backbone.transformer_layers[-1]
        blocks = self._layer(last, self._blocks.split(x, length), bias, training)
        x = self._blocks.join(blocks, length)
        x = ops.reshape(x, (-1, length, self.backbone.hidden_dim))
        # In float32: in bfloat16, a sum of hundreds of vectors would lose its last digits.
        used = ops.cast(ops.equal(bias, 0), "float32")[:, :, None]
        total = ops.sum(ops.cast(x, "float32") * used, axis=1)
        return ops.cast(total / ops.sum(used, axis=1), x.dtype)
