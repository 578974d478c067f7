"""Embedding of patches, pooling and stochastic depth against independent computations."""

import keras
import numpy as np
import pytest
from scipy.signal import correlate

from covid_lm.backbones.configs import BackboneConfig, PatchConfig
from covid_lm.backbones.patch_embedding import PatchEmbedding, build_backbone
from covid_lm.backbones.pooled_encoder import MeanEncoder

SIZE = 40  # words


def random_ids(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, SIZE, shape, dtype=np.int32)


def embedding(stem: str, patch_size: int = 4, image_size: int = 8) -> PatchEmbedding:
    layer = PatchEmbedding(SIZE, 16, PatchConfig(image_size, patch_size, 3, 5, stem=stem))
    generator = np.random.default_rng(2)
    for variable in layer.variables:
        variable.assign(generator.normal(0, 0.3, variable.shape))
    return layer


def test_the_patch_stem_is_one_product_over_all_places():
    layer = embedding("patch")
    ids = random_ids(2, 7, 48)
    table, kernel, bias = (np.asarray(variable) for variable in layer.variables)
    expected = np.einsum("blpw,pwh->blh", table[ids], kernel.reshape(48, 5, 16)) + bias
    np.testing.assert_allclose(layer(ids), expected, atol=1e-4)


@pytest.mark.parametrize("patch_size", [2, 4, 8])
def test_the_conv_stem_is_a_convolution_of_the_picture(patch_size):
    """By scipy's correlation, from a picture that is put together pixel by pixel."""
    layer = embedding("conv", patch_size, image_size=16)
    grid = 16 // patch_size
    ids = random_ids(1, grid**2 + 4, 3 * patch_size**2)
    vectors = np.asarray(layer.table.embeddings)[ids[0]]  # [length, bytes, width]
    picture = np.zeros((16, 16, 3 * 5))
    for patch in range(grid**2):
        for byte in range(3 * patch_size**2):
            plane, place = divmod(byte, patch_size**2)
            row, column = divmod(place, patch_size)
            y, x = (patch // grid) * patch_size + row, (patch % grid) * patch_size + column
            picture[y, x, 5 * plane : 5 * plane + 5] = vectors[1 + patch, byte]
    for index, (convolution, stride) in enumerate(
        zip(layer.convolutions, layer.patches.strides, strict=True)
    ):
        kernel, bias = np.asarray(convolution.kernel), np.asarray(convolution.bias)
        whole = np.stack(
            [
                correlate(np.pad(picture, [(1, 1), (1, 1), (0, 0)]), kernel[..., k], "valid")[
                    ..., 0
                ]
                for k in range(kernel.shape[-1])
            ],
            axis=-1,
        )
        # TensorFlow pads an even side at the end first, so a stride of 2 begins at row 1.
        picture = whole[stride - 1 :: stride, stride - 1 :: stride] + bias
        if index < len(layer.convolutions) - 1:
            picture = np.maximum(picture, 0)
    dense = vectors[:, 0] @ np.asarray(layer.dense.kernel) + np.asarray(layer.dense.bias)
    expected = np.concatenate([dense[:1], picture.reshape(-1, 16), dense[1 + grid**2 :]])
    np.testing.assert_allclose(layer(ids)[0], expected, atol=1e-3)


def test_words_of_a_pretrained_backbone_are_the_bytes_embeddings():
    patches = PatchConfig(8, 4, 1, 32, own_table=False)
    backbone = build_backbone(BackboneConfig(1, 32, 1, 32, SIZE, patches=patches))
    ids = random_ids(1, 6, 16)
    np.testing.assert_array_equal(
        backbone.patch_embedding.embed_bytes(ids),
        np.asarray(backbone.token_embedding.embeddings)[ids],
    )
    assert backbone.token_embedding.trainable


def test_values_begin_in_their_order():
    layer = PatchEmbedding(300, 16, PatchConfig(8, 4, 1, 4))
    layer.order_values(np.arange(10, 266), seed=5)
    rows = np.asarray(layer.table.embeddings)
    for column in rows[10:266].T:
        assert np.corrcoef(column, np.arange(256))[0, 1] > 0.95
    assert np.abs(rows[:10]).max() < 0.5
    layer.order_values(np.arange(10, 266), seed=5)
    np.testing.assert_array_equal(layer.table.embeddings, rows)


def test_mean_pooling_is_the_mean_of_the_library_s_output_over_tokens_in_use():
    backbone = build_backbone(BackboneConfig(2, 64, 2, 96, SIZE))
    for variable in backbone.weights:
        variable.assign(variable + keras.random.normal(variable.shape, stddev=0.1, seed=4))
    used = np.arange(9) < np.array([[9], [4]])
    inputs = {
        "token_ids": random_ids(2, 9),
        "segment_ids": np.ones((2, 9), np.int32),
        "padding_mask": used.astype(np.int32),
    }
    expected = np.asarray(backbone(inputs)["sequence_output"])
    expected = [row[mask].mean(axis=0) for row, mask in zip(expected, used, strict=True)]
    found = MeanEncoder(backbone, activation="gelu_approximate")(inputs)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_stochastic_depth_skips_whole_branches_of_some_images():
    backbone = build_backbone(BackboneConfig(2, 32, 1, 32, SIZE, dropout=0.0))
    inputs = {
        "token_ids": np.repeat(random_ids(1, 5), 64, axis=0),
        "segment_ids": np.zeros((64, 5), np.int32),
        "padding_mask": np.ones((64, 5), np.int32),
    }
    still = MeanEncoder(backbone, dropout=0.0, seed=1)(inputs, training=True)
    assert np.ptp(still, axis=0).max() < 1e-6
    skipping = MeanEncoder(backbone, stochastic_depth=0.5, seed=1)
    found = np.asarray(skipping(inputs, training=True))
    # Two branches of the last layer, each kept or skipped.
    assert len(np.unique(found.round(5), axis=0)) == 4
    np.testing.assert_allclose(skipping(inputs, training=False), still, atol=1e-6)


def test_an_encoder_with_patches_is_rebuilt_from_its_config():
    config = BackboneConfig(1, 32, 1, 32, SIZE, patches=PatchConfig(8, 4, 3, 5, stem="conv"))
    encoder = MeanEncoder(build_backbone(config), stochastic_depth=0.2, seed=3)
    twin = MeanEncoder.from_config(encoder.get_config())
    assert twin.stochastic_depth == 0.2
    assert twin.backbone.patch_embedding.patches == config.patches
    assert (
        twin.backbone.patch_embedding.get_config() == encoder.backbone.patch_embedding.get_config()
    )
    shapes = [[v.shape for v in e.backbone.variables] for e in (encoder, twin)]
    assert shapes[0] == shapes[1]
