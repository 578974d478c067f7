"""A masked language model, saved and loaded, and with a checkpoint without a head."""

import numpy as np
import pytest

from covid_lm.backbones.configs import BackboneConfig
from covid_lm.backbones.vocabulary import built_in_vocabulary
from covid_lm.models.masked_lm import MaskedLanguageModel
from tests.backbones import generated_checkpoints as generated

VOCABULARY = built_in_vocabulary()
CONFIG = BackboneConfig(1, 32, 4, 64, vocabulary_size=len(VOCABULARY), max_sequence_length=16)
WORD_IDS = np.arange(5, 300)
INPUTS = {
    "token_ids": np.random.default_rng(0).integers(0, 311, [2, 16], dtype=np.int32),
    "segment_ids": np.zeros([2, 16], np.int32),
    "padding_mask": np.ones([2, 16], np.int32),
    "masked_positions": np.array([[1, 5, 15], [0, 2, 3]], np.int32),
}


def make_model(**changes) -> MaskedLanguageModel:
    return MaskedLanguageModel(CONFIG, VOCABULARY, WORD_IDS, length=16, num_masked=3, **changes)


def logits(language_model) -> np.ndarray:
    return np.asarray(language_model.model(INPUTS))  # [2, 3, 295]


@pytest.mark.parametrize("pooler", [True, False])
def test_saved_and_loaded_it_gives_the_same_logits(tmp_path, pooler):
    shapes = generated.tensor_shapes(CONFIG, pooler=pooler)
    arrays = generated.random_arrays(shapes)
    generated.write_directory(str(tmp_path), "safetensors", arrays, CONFIG)
    first = make_model()
    assert first.load(str(tmp_path)) is True
    first.save(str(tmp_path / "saved"))
    second = make_model()
    assert np.abs(logits(first) - logits(second)).max() > 0.1
    assert second.load(str(tmp_path / "saved")) is True
    np.testing.assert_array_equal(logits(first), logits(second))
    # Saved: the pooler if it was loaded, and the bias of every word.
    original = (tmp_path / "model.safetensors").stat().st_size
    saved = (tmp_path / "saved" / "model.safetensors").stat().st_size
    assert abs(saved - original) < 100


def test_a_checkpoint_without_a_head_keeps_the_initial_head(tmp_path):
    shapes = generated.tensor_shapes(CONFIG, masked_lm_head=False)
    arrays = generated.random_arrays(shapes)
    generated.write_directory(str(tmp_path), "safetensors", arrays, CONFIG)
    language_model = make_model()
    kernel = language_model.head.transform_kernel.numpy()
    assert language_model.load(str(tmp_path)) is False
    np.testing.assert_array_equal(language_model.head.transform_kernel.numpy(), kernel)
    np.testing.assert_array_equal(
        language_model.backbone.token_embedding.embeddings.numpy(),
        arrays["bert/embeddings/word_embeddings"],
    )


def test_bfloat16_keeps_float32_weights_and_logits():
    language_model = make_model(dtype_policy="mixed_bfloat16")
    assert {weight.dtype for weight in language_model.model.weights} == {"float32"}
    assert logits(language_model).dtype == np.float32
