"""Weights that ship: the default start of their layout, and how to start without them."""

import json
import shutil

import numpy as np
import pytest

from covid_lm.backbones.configs import BackboneConfig, PatchConfig
from covid_lm.backbones.patch_embedding import build_backbone
from covid_lm.backbones.vocabulary import built_in_vocabulary
from covid_lm.backbones.weights import shipped
from covid_lm.backbones.weights.config import read_config
from covid_lm.backbones.weights.read import load_weights
from covid_lm.backbones.weights.tensor_names import encoder_targets
from covid_lm.backbones.weights.write import save_checkpoint
from covid_lm.errors import InputError
from covid_lm.export import write_encoder
from covid_lm.results.run_records import weights_origin
from covid_lm.training.build import build_classifier
from covid_lm.training.options import TrainingOptions

LAYOUT = "patches8x4"


@pytest.fixture
def backbone(tmp_path, monkeypatch):
    """A backbone whose weights are those that ship for LAYOUT."""
    vocabulary = built_in_vocabulary()
    patches = PatchConfig(8, 4, 1, 4, stem="conv")
    config = BackboneConfig(1, 64, 1, 256, len(vocabulary), activation="relu", patches=patches)
    backbone = build_backbone(config)
    save_checkpoint(str(tmp_path / LAYOUT), backbone, config, vocabulary, None, pooler=False)
    monkeypatch.setattr(shipped, "_FOLDER", str(tmp_path))
    return backbone


def table(backbone) -> np.ndarray:
    return np.asarray(backbone.patch_embedding.table.embeddings)


def test_a_layout_s_weights_are_its_default_start(backbone):
    options = TrainingOptions(layout=LAYOUT)
    assert (options.backbone, options.weights) == ("1x64", "shipped")
    assert options.command == f"python tools/train.py --layout={LAYOUT}"
    classifier = build_classifier(options, ("a", "b"))
    assert classifier.config.weights == "shipped"
    assert classifier.config.backbone.activation == "relu"
    np.testing.assert_array_equal(table(classifier.backbone), table(backbone))
    assert weights_origin("shipped") == "shipped"


def test_shipped_files_are_half_as_large(backbone, tmp_path):
    source, directory = tmp_path / "run" / "weights", tmp_path / "half"
    shutil.copytree(tmp_path / LAYOUT, source)
    write_encoder(str(tmp_path / "run"), str(directory), "float16")
    sizes = [(path / "model.safetensors").stat().st_size for path in (source, directory)]
    assert sizes[1] < 0.6 * sizes[0]
    again = build_backbone(read_config(directory))
    load_weights(directory, again)
    ours, theirs = encoder_targets(backbone), encoder_targets(again)
    assert len(ours) > 20
    for place, target in ours.items():
        read = theirs[place].variable.numpy()
        np.testing.assert_allclose(read, target.variable.numpy(), rtol=5e-4, atol=1e-7)


def test_random_weights_are_a_choice(backbone):
    options = TrainingOptions(layout=LAYOUT, weights="none")
    assert options.weights is None
    assert options.command == f"python tools/train.py --weights=none --layout={LAYOUT}"
    other = build_classifier(options, ("a", "b")).backbone
    assert np.abs(table(other) - table(backbone)).max() > 0.01


def test_another_backbone_or_layout_starts_at_random(backbone):
    assert TrainingOptions(layout=LAYOUT, backbone="2x64").weights is None
    options = TrainingOptions(layout="patches16x4")
    assert (options.backbone, options.weights) == ("tiny", None)


def test_options_that_the_weights_determine_are_refused(backbone):
    message = "--activation=gelu: the weights determine it; use --weights=none"
    with pytest.raises(InputError) as caught:
        TrainingOptions(layout=LAYOUT, activation="gelu")
    assert str(caught.value) == message
    with pytest.raises(InputError, match=r"^--stem=patch: the weights have conv$"):
        build_classifier(TrainingOptions(layout=LAYOUT, stem="patch"), ("a", "b"))


def test_weights_for_other_patches_are_refused(backbone, tmp_path):
    weights = str(tmp_path / LAYOUT)
    options = TrainingOptions(layout="patches16x4", backbone="1x64", weights=weights)
    with pytest.raises(InputError, match=r"not for --layout=patches16x4, but for patches of 8x4"):
        build_classifier(options, ("a", "b"))
    with pytest.raises(InputError, match=r"not for --layout=gray22, but for patches of 8x4"):
        build_classifier(
            TrainingOptions(layout="gray22", backbone="1x64", weights=weights), ("a", "b")
        )


def test_a_damaged_description_of_the_patches_is_refused(backbone, tmp_path):
    path = tmp_path / LAYOUT / "config.json"
    config = json.loads(path.read_text())
    for damage in ([], {**config["covid_lm_patches"], "stem": "x"}, {"image_size": 8}):
        path.write_text(json.dumps({**config, "covid_lm_patches": damage}))
        with pytest.raises(InputError, match=r"config.json: covid_lm_patches is damaged"):
            build_classifier(TrainingOptions(layout=LAYOUT), ("a", "b"))
