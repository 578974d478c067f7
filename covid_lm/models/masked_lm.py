"""A BERT with its masked-LM head (paper, section 3.2), for pre-training and saving."""

from collections.abc import Sequence

import keras
import numpy as np

from covid_lm.backbones.configs import BackboneConfig
from covid_lm.backbones.masked_lm_encoder import MaskedLmEncoder, MaskedLmHead
from covid_lm.backbones.patch_embedding import build_backbone
from covid_lm.backbones.weights.read import load_weights
from covid_lm.backbones.weights.write import save_checkpoint


class MaskedLanguageModel:
    """Backbone, encoder and head as one Keras model.

    Attributes:
        backbone: the `BertBackbone` that owns the encoder's weights.
        head: the `MaskedLmHead`.
        model: keras Model, `token_ids`, `segment_ids`, `padding_mask`, int32 [batch, length], and
            `masked_positions`, int32 [batch, num_masked], to float32 logits
            [batch, num_masked, words].

    Args:
        config: shape of the backbone.
        vocabulary: words, index = id.
        word_ids: ids of the words that a masked position can have.
        length: positions per sequence.
        num_masked: masked positions per sequence.
        dtype_policy: Keras policy, float32 or mixed_bfloat16.
        dropout: rate in the encoder; the config's by default.
    """

    def __init__(
        self,
        config: BackboneConfig,
        vocabulary: tuple[str, ...],
        word_ids: Sequence[int] | np.ndarray,
        length: int,
        num_masked: int,
        dtype_policy: str = "float32",
        dropout: float | None = None,
    ):
        self.config = config
        self.vocabulary = vocabulary
        self.backbone = build_backbone(config, dtype=dtype_policy)
        arguments: tuple[str, float] = (config.activation, config.layer_norm_epsilon)
        self.encoder = MaskedLmEncoder(
            self.backbone, *arguments, dropout=dropout, name="masked_lm_encoder"
        )
        self.head = MaskedLmHead(
            self.backbone.token_embedding,
            word_ids,
            *arguments,
            dtype=dtype_policy,
            name="masked_lm_head",
        )
        sizes = dict.fromkeys(("token_ids", "segment_ids", "padding_mask"), length)
        sizes["masked_positions"] = num_masked
        inputs = {key: keras.Input((n,), dtype="int32", name=key) for key, n in sizes.items()}
        self.model = keras.Model(inputs, self.head(self.encoder(inputs)), name="masked_lm")
        self._has_pooler = False

    def load(self, directory: str) -> bool:
        """Loads a checkpoint's weights, including its masked-LM head if it has one.

        Returns:
            True if it has one; otherwise the head keeps its initial values.

        Raises:
            InputError: as `load_weights`.
        """
        loaded = load_weights(directory, self.backbone)
        self._has_pooler = loaded.pooler
        for key, array in (loaded.masked_lm_head or {}).items():
            self.head.own_weights()[key].assign(array)
        return loaded.masked_lm_head is not None

    def save(self, directory: str) -> None:
        """Writes a directory for `--weights` and for Hugging Face, atomically.

        It has a pooler only if the loaded checkpoint had one, because pre-training has none.
        """
        save_checkpoint(
            directory,
            self.backbone,
            self.config,
            self.vocabulary,
            self.head.own_weights(),
            pooler=self._has_pooler,
        )
