"""Layouts whose tokens are patches: exact ids, wrong names, training state, export."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from covid_lm.backbones.configs import BackboneConfig, PatchConfig
from covid_lm.backbones.vocabulary import built_in_vocabulary
from covid_lm.backbones.weights.read import load_weights, read_config
from covid_lm.backbones.weights.write import save_checkpoint
from covid_lm.errors import InputError
from covid_lm.evaluation.attribution import IntegratedGradients
from covid_lm.evaluation.token_positions import token_positions
from covid_lm.models.preprocessor import Preprocessor
from covid_lm.models.saving import load_classifier, save_config, save_weights
from covid_lm.models.token_classifier import TokenClassifier, TokenClassifierConfig
from covid_lm.protocols import layout_arguments, layout_trim
from covid_lm.serving.saved_model import write_saved_model
from tests.conftest import encode, random_picture
from tests.oracle import oracle_sequence

VOCABULARY = built_in_vocabulary()


def patch_classifier(stem: str = "conv", protocol: str = "masked", **changes) -> TokenClassifier:
    """Two layers, 64 wide, that reads 16x16 RGB in 4x4 patches; random weights."""
    layout = "patches16x4rgb"
    config = TokenClassifierConfig(
        classes=("cat", "dog", "ship"),
        backbone_name="2x64",
        backbone=BackboneConfig(
            *(2, 64, 1, 64),
            vocabulary_size=len(VOCABULARY),
            patches=PatchConfig(16, 4, 3, 8, stem=stem),
        ),
        protocol=protocol,
        layout=layout,
        pooling="mean",
        **layout_trim(layout, protocol),
    )
    keras.utils.set_random_seed(7)
    classifier = TokenClassifier(dataclasses.replace(config, **changes), VOCABULARY)
    generator = np.random.default_rng(3)
    for variable in classifier.logits.trainable_variables:
        variable.assign(variable + generator.normal(0, 0.1, variable.shape))
    return classifier


@pytest.fixture(scope="module")
def classifier() -> TokenClassifier:
    return patch_classifier()


def images(count: int) -> tuple[tf.Tensor, tf.Tensor]:
    pictures = [encode(random_picture(20 + k, 31, seed=k)) for k in range(count)]
    return tf.constant(pictures), tf.constant([f"scan_{'x' * k}.png" for k in range(count)])


@pytest.mark.parametrize("policy", ["visible", "masked", "fixed", "absent"])
@pytest.mark.parametrize("layout", ["patches16x4rgb", "patches12x6", "patches8x1"])
def test_token_ids_are_those_of_the_paper_read_patch_by_patch(layout, policy):
    trim = {"head": layout_arguments(layout)["head"], "tail": 9}
    arguments = {**layout_arguments(layout), **trim}
    preprocessor = Preprocessor(VOCABULARY, policy, **arguments)
    image_bytes, filenames = images(3)
    found = preprocessor(image_bytes, filenames)
    pixels = preprocessor.decode(image_bytes)["pixels"].numpy()
    size = arguments["patch_size"] ** 2 * pixels.shape[-1]
    assert found["token_ids"].shape == (3, sum(trim.values()), size)
    for row, (picture, name) in enumerate(zip(pixels, filenames.numpy(), strict=True)):
        expected = oracle_sequence(
            picture, name, VOCABULARY, policy, **trim, patch_size=arguments["patch_size"]
        )
        for key, values in expected.items():
            np.testing.assert_array_equal(found[key][row], values, err_msg=f"{key} of {name}")


def test_patches_of_one_value_are_the_values_of_the_plane():
    image_bytes, filenames = images(2)
    arguments = {"vocabulary": VOCABULARY, "image_size": 8, "color": "luminance", "tail": 30}
    single = Preprocessor(**arguments, head=66)(image_bytes, filenames)
    patches = Preprocessor(**arguments, head=66, patch_size=1)(image_bytes, filenames)
    np.testing.assert_array_equal(patches["token_ids"][..., 0], single["token_ids"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("patches128", "no such layout"),
        ("patches0x4", "no such layout"),
        ("patches128x8RGB", "no such layout"),
        ("patches30x4", "patches of 4 don't divide 30 pixels"),
        ("patches128x4rgb", "1024 patches, but the sequence holds 509; use larger patches"),
    ],
)
def test_unusable_layouts_are_refused_by_name(name, message):
    with pytest.raises(InputError, match=f"^--layout={name}: {message}"):
        layout_arguments(name)


@pytest.mark.parametrize(
    ("protocol", "tail"), [("absent", 1), ("fixed", 25), ("masked", 64), ("paper", 64)]
)
def test_positions_for_the_name_depend_on_the_protocol(protocol, tail):
    assert layout_trim("patches32x4rgb", protocol) == {"head": 66, "tail": tail}
    assert layout_trim("patches21x1", protocol) == {"head": 443, "tail": tail}
    assert layout_trim("gray22", protocol) == {"head": 256, "tail": 256}


@pytest.mark.slow  # the first page's blocks export such a run, which compares it
def test_the_export_in_bfloat16_is_near_the_live_model(classifier, tmp_path):
    write_saved_model(classifier.serving_copy("bfloat16"), str(tmp_path / "1"), {})
    loaded = tf.saved_model.load(str(tmp_path / "1"))
    image_bytes, filenames = images(3)
    inputs = classifier.preprocessor()(image_bytes, filenames)
    served = loaded.signatures["serving_default"](image_bytes=image_bytes, filename=filenames)
    expected = classifier.core(classifier.core_inputs(inputs))
    np.testing.assert_allclose(served["probabilities"], expected, atol=0.03)


@pytest.mark.parametrize("stem", [pytest.param("patch", marks=pytest.mark.slow), "conv"])
def test_the_export_gives_the_live_probabilities_and_tokens(stem, tmp_path):
    classifier = patch_classifier(stem)
    write_saved_model(classifier.serving_copy("float32"), str(tmp_path / "1"), {})
    loaded = tf.saved_model.load(str(tmp_path / "1")).signatures
    image_bytes, filenames = images(3)
    inputs = classifier.preprocessor()(image_bytes, filenames)
    named = {"image_bytes": image_bytes, "filename": filenames}
    expected = classifier.core(classifier.core_inputs(inputs))
    served = loaded["serving_default"](**named)["probabilities"]
    np.testing.assert_allclose(served, expected, atol=1e-6)
    assert np.ptp(expected.numpy(), axis=0).max() > 0.01
    np.testing.assert_array_equal(loaded["tokenize"](**named)["token_ids"], inputs["token_ids"])
    embedding = loaded["embed"](**named)["embedding"]
    np.testing.assert_allclose(
        embedding, classifier.embedding(classifier.core_inputs(inputs)), atol=1e-5
    )


def test_a_run_is_read_again(classifier, tmp_path):
    save_config(classifier, str(tmp_path), {})
    save_weights(classifier, str(tmp_path))
    loaded = load_classifier(str(tmp_path))
    assert loaded.config == classifier.config
    inputs = classifier.core_inputs(classifier.preprocessor()(*images(2)))
    np.testing.assert_array_equal(loaded.core(inputs), classifier.core(inputs))


@pytest.mark.parametrize("stem", ["patch", "conv"])
def test_weights_are_written_and_read(stem, tmp_path):
    source, target = patch_classifier(stem), patch_classifier(stem, pooling="cls")
    config = source.config.backbone
    save_checkpoint(str(tmp_path / "w"), source.backbone, config, VOCABULARY, None, pooler=False)
    assert read_config(tmp_path / "w").patches == config.patches
    table = target.backbone.patch_embedding.table.embeddings
    table.assign(table * 0)
    load_weights(tmp_path / "w", target.backbone)
    assert len(source.backbone.weights) == len(target.backbone.weights)
    for theirs, own in zip(source.backbone.weights, target.backbone.weights, strict=True):
        if not any(unused in own.path for unused in ("pooled_dense", "token_embedding", "seed")):
            np.testing.assert_array_equal(theirs, own, err_msg=own.path)


def test_weights_of_other_patches_are_refused(classifier, tmp_path):
    config = classifier.config.backbone
    save_checkpoint(str(tmp_path), classifier.backbone, config, VOCABULARY, None, pooler=False)
    other = patch_classifier("patch")
    with pytest.raises(InputError, match=r"config.json: tokens are patches of .*'conv'"):
        load_weights(tmp_path, other.backbone)


@pytest.mark.parametrize(
    ("stem", "dtype"),
    [
        ("patch", "float32"),
        pytest.param("patch", "bfloat16", marks=pytest.mark.slow),
        pytest.param("conv", "float32", marks=pytest.mark.slow),
        ("conv", "bfloat16"),
    ],
)
def test_attributions_of_bytes_add_up_to_the_change_of_the_margin(stem, dtype):
    classifier = patch_classifier(stem, protocol="paper", dtype=dtype)
    preprocessor = classifier.preprocessor("visible")
    image_bytes, filenames = images(1)
    tokens = preprocessor(image_bytes, filenames)
    attribution = IntegratedGradients(classifier)(tokens, target=1)
    change = attribution.margin - attribution.baseline_margin
    assert abs(change) > 0.05
    # The margin bends where a convolution's output passes zero, so its sum is less exact.
    tolerance = {"patch": 0.01, "conv": 0.03}[stem]
    assert attribution.error < tolerance * max(abs(change), 0.1)
    assert attribution.words.shape == tokens["token_ids"].shape[1:]
    assert attribution.tokens[0] == 0  # [CLS]
    positions = token_positions(preprocessor, filenames.numpy()[0])
    picture = positions.on_planes(attribution.words)
    assert picture.shape == (3, 16, 16)
    assert picture.sum() == pytest.approx(attribution.tokens[positions.from_image].sum())
    assert attribution.tokens[positions.name >= 0].any()


def test_every_byte_of_a_patch_has_its_pixel():
    preprocessor = Preprocessor(VOCABULARY, "visible", image_size=4, patch_size=2, head=6, tail=4)
    pixels = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)
    ids = preprocessor.tokenize(tf.constant(pixels), tf.constant(["ab"]))["token_ids"].numpy()[0]
    positions = token_positions(preprocessor, b"ab")
    assert positions.kept().all()
    assert np.flatnonzero(positions.special).tolist() == [0, 5, 8]
    assert positions.name.tolist() == [-1] * 6 + [0, 1, -1, -1]
    for position, byte in np.argwhere(positions.pixels[..., 0] >= 0):
        plane, row, column = positions.pixels[position, byte]
        assert VOCABULARY[ids[position, byte]] == str(pixels[0, row, column, plane])
