"""The named backbones: pinned parameter counts, sizes by pattern, refusals."""

import pytest

from covid_lm.backbones.configs import (
    BACKBONES,
    BackboneConfig,
    PatchConfig,
    activation_bytes,
    backbone_config,
    exact_flops,
)
from covid_lm.backbones.patch_embedding import build_backbone
from covid_lm.errors import InputError
from covid_lm.protocols import layout_arguments

# With the pooler, without the masked-LM head. bert-base-chinese's is the published 102,267,648;
# Cui et al. (2021) publish 38 million for rbt3, 61 for rbtl3 and 325 for roberta-wwm-ext-large.
PARAMETERS = {
    "tiny": 3_183_488,
    "minilm-l6": 22_713_216,
    "rbt3": 38_476_800,
    "rbtl3": 61_001_728,
    "bert-base-chinese": 102_267_648,
    "roberta-wwm-ext-large": 325_522_432,
}


def parameter_count(config: BackboneConfig) -> int:
    hidden = config.hidden_dim
    rows = config.vocabulary_size + config.max_sequence_length + config.num_segments
    embeddings = rows * hidden + 2 * hidden
    attention = 4 * (hidden * hidden + hidden) + 2 * hidden
    feed_forward = (
        hidden * config.intermediate_dim
        + config.intermediate_dim
        + config.intermediate_dim * hidden
        + hidden
        + 2 * hidden
    )
    pooler = hidden * hidden + hidden
    return embeddings + config.num_layers * (attention + feed_forward) + pooler


@pytest.mark.parametrize("name", sorted(BACKBONES))
def test_parameter_count_is_pinned(name):
    assert parameter_count(BACKBONES[name]) == PARAMETERS[name]


def test_every_backbone_is_pinned():
    assert set(PARAMETERS) == set(BACKBONES)


@pytest.mark.parametrize("name", ["tiny", "minilm-l6", "rbt3"])
def test_built_backbone_has_the_pinned_parameters(name):
    assert build_backbone(BACKBONES[name]).count_params() == PARAMETERS[name]


def test_activation_bytes_by_hand():
    config = BackboneConfig(2, 8, 2, 16, vocabulary_size=10, max_sequence_length=4)
    assert activation_bytes(config, 4) == 2 * 2 * (34 * 4 * 8 + 5 * 2 * 16)


def test_size_by_pattern():
    assert backbone_config("4x256") == BackboneConfig(4, 256, 4, 1024)


@pytest.mark.parametrize("name", ["bert", "4x100", "0x64", "4x0", "4x256x2", ""])
def test_unknown_name_is_one_line_that_lists_the_choices(name):
    with pytest.raises(InputError, match=r"rbt3.*layers x width") as raised:
        backbone_config(name)
    assert "\n" not in str(raised.value)


def test_patches_follow_from_the_layout():
    gray, color = (layout_arguments(name) for name in ("patches128x8", "patches32x4rgb"))
    assert PatchConfig.of_layout(gray) == PatchConfig(128, 8, 1, 4, stem="conv")
    assert PatchConfig.of_layout(color, stem="patch") == PatchConfig(32, 4, 3, 8, stem="patch")
    assert PatchConfig.of_layout(layout_arguments("gray22")) is None


@pytest.mark.parametrize(
    ("patch_size", "strides"), [(2, (1, 1, 2)), (4, (1, 2, 2)), (8, (2,) * 3), (16, (2,) * 4)]
)
def test_convolutions_shrink_a_patch_to_a_point(patch_size, strides):
    assert PatchConfig(32, patch_size, 3).strides == strides


def test_operations_of_patches_by_hand():
    patches = PatchConfig(8, 4, 3, 5, stem="patch")
    config = BackboneConfig(2, 8, 2, 16, patches=patches)
    encoder = 2 * (8 * 7 * 64 + 4 * 49 * 8 + 4 * 7 * 8 * 16)
    assert exact_flops(config, 7) == encoder + 2 * 4 * 48 * 5 * 8
    stem = 8 * 8 * 9 * 15 * 2 + 4 * 4 * 9 * 2 * 4 + 2 * 2 * 9 * 4 * 8
    assert PatchConfig(8, 4, 3, 5, stem="conv").flops(8) == 2 * stem
