"""Generated checkpoints in all three formats are read bit-equal."""

import re

import ml_dtypes
import numpy as np
import pytest

from covid_lm.backbones.configs import BACKBONES, BackboneConfig
from covid_lm.backbones.patch_embedding import build_backbone
from covid_lm.backbones.weights.read import load_weights, read_config
from tests.backbones import generated_checkpoints as generated
from tests.backbones.conftest import ARRAYS, CONFIG, SHAPES, write

PAPER_MODELS = {"rbt3": "tf1", "rbtl3": "h5", "roberta-wwm-ext-large": "safetensors"}


def original_name(path: str) -> str:
    """Keras' variable path -> the tensor's name in the original release."""
    for pattern, name in (
        (r"^token_embedding/embeddings$", "bert/embeddings/word_embeddings"),
        (r"^position_embedding/embeddings$", "bert/embeddings/position_embeddings"),
        (r"^segment_embedding/embeddings$", "bert/embeddings/token_type_embeddings"),
        (r"^embeddings_layer_norm", "bert/embeddings/LayerNorm"),
        (r"^pooled_dense", "bert/pooler/dense"),
        (r"^transformer_layer_(\d+)", r"bert/encoder/layer_\1"),
        (r"/self_attention_layer/attention_output", "/attention/output/dense"),
        (r"/self_attention_layer/", "/attention/self/"),
        (r"/self_attention_layer_norm", "/attention/output/LayerNorm"),
        (r"/feedforward_layer_norm", "/output/LayerNorm"),
        (r"/feedforward_intermediate_dense", "/intermediate/dense"),
        (r"/feedforward_output_dense", "/output/dense"),
    ):
        path = re.sub(pattern, name, path)
    return path


def assert_equal(backbone, arrays):
    """Every variable of the backbone is bit-equal to its array."""
    assert len(backbone.weights) == len([name for name in arrays if name.startswith("bert/")])
    for variable in backbone.weights:
        expected = arrays[original_name(variable.path)].reshape(variable.shape)
        np.testing.assert_array_equal(variable.numpy(), expected)


def cast(arrays, dtype):
    return {name: array.astype(dtype) for name, array in arrays.items()}


def test_every_format_is_bit_equal(tmp_path, backbone, file_format):
    path = write(tmp_path, file_format)
    loaded = load_weights(tmp_path, backbone)
    assert_equal(backbone, ARRAYS)
    assert loaded.path == path
    assert loaded.pooler
    scope = "cls/predictions"
    head = {
        key: ARRAYS[f"{scope}/{name}"]
        for key, name in (
            ("transform_kernel", "transform/dense/kernel"),
            ("transform_bias", "transform/dense/bias"),
            ("layer_norm_gamma", "transform/LayerNorm/gamma"),
            ("layer_norm_beta", "transform/LayerNorm/beta"),
            ("decoder_bias", "output_bias"),
        )
    }
    assert loaded.masked_lm_head.keys() == head.keys()
    for key, expected in head.items():
        np.testing.assert_array_equal(loaded.masked_lm_head[key], expected, strict=True)


@pytest.mark.parametrize(
    ("file_format", "options"),
    [
        ("safetensors", {"prefix": ""}),
        ("safetensors", {"layer_norm": ("gamma", "beta")}),
        ("h5", {"model": None}),
        ("h5", {"model": "tf_bert_model_1"}),
        ("tf1", {"stem": "model.ckpt-1000"}),
    ],
)
def test_spellings(tmp_path, backbone, file_format, options):
    write(tmp_path, file_format, **options)
    load_weights(tmp_path, backbone)
    assert_equal(backbone, ARRAYS)


def test_tf1_without_scope(tmp_path, backbone):
    write(tmp_path, "tf1", {re.sub("^bert/", "", name): a for name, a in ARRAYS.items()})
    load_weights(tmp_path, backbone)
    assert_equal(backbone, ARRAYS)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types(tmp_path, backbone, file_format, dtype):
    arrays = cast(ARRAYS, dtype)
    write(tmp_path, file_format, arrays)
    loaded = load_weights(tmp_path, backbone)
    assert_equal(backbone, cast(arrays, np.float32))
    assert loaded.masked_lm_head["decoder_bias"].dtype == np.float32


@pytest.mark.parametrize("file_format", ["safetensors", "tf1"])
def test_bfloat16(tmp_path, backbone, file_format):
    arrays = cast(ARRAYS, ml_dtypes.bfloat16)
    write(tmp_path, file_format, arrays)
    load_weights(tmp_path, backbone)
    assert_equal(backbone, cast(arrays, np.float32))


def test_kernels_with_separate_heads(tmp_path, backbone):
    arrays = dict(ARRAYS)
    for name, array in ARRAYS.items():
        if "/attention/self/" in name:
            arrays[name] = array.reshape((*array.shape[:-1], 4, 8))  # [(hidden,) heads, size]
        elif name.endswith("/attention/output/dense/kernel"):
            arrays[name] = array.reshape(4, 8, 32)  # [heads, size, hidden]
    write(tmp_path, "h5", arrays)
    load_weights(tmp_path, backbone)
    assert_equal(backbone, ARRAYS)


def test_mixed_precision_keeps_float32(tmp_path):
    backbone = build_backbone(CONFIG, dtype="mixed_bfloat16")
    write(tmp_path, "safetensors")
    load_weights(tmp_path, backbone)
    assert_equal(backbone, ARRAYS)


@pytest.mark.parametrize("pooler", [True, False])
@pytest.mark.parametrize("masked_lm_head", [True, False])
def test_optional_parts(tmp_path, backbone, file_format, pooler, masked_lm_head):
    before = backbone.pooled_dense.kernel.numpy()
    arrays = generated.random_arrays(generated.tensor_shapes(CONFIG, pooler, masked_lm_head), 1)
    write(tmp_path, file_format, arrays)
    loaded = load_weights(tmp_path, backbone)
    assert loaded.pooler == pooler
    assert (loaded.masked_lm_head is not None) == masked_lm_head
    after = backbone.pooled_dense.kernel.numpy()
    expected = arrays["bert/pooler/dense/kernel"] if pooler else before
    np.testing.assert_array_equal(after, expected)


def test_deliberately_ignored_tensors(tmp_path, backbone):
    """Optimizer state, step and next-sentence head."""
    kernel = "bert/encoder/layer_0/output/dense/kernel"
    extra = {f"{kernel}/adam_m": ARRAYS[kernel], f"{kernel}/adam_v": ARRAYS[kernel]}
    extra |= {"global_step": np.int64(7), "cls/seq_relationship/output_bias": np.ones(2, "f")}
    extra |= {"cls/seq_relationship/output_weights": np.ones((2, 32), "f")}
    write(tmp_path, "tf1", ARRAYS | extra)
    load_weights(tmp_path, backbone)
    assert_equal(backbone, ARRAYS)


def test_buffers_and_tied_weights(tmp_path, backbone):
    tied = ARRAYS["bert/embeddings/word_embeddings"].T  # the writer turns kernels round
    extra = {"bert/embeddings/position_ids": np.arange(16)[None]}
    extra |= {"cls/predictions/decoder/kernel": tied}
    extra |= {"cls/predictions/decoder/bias": ARRAYS["cls/predictions/output_bias"]}
    write(tmp_path, "safetensors", ARRAYS | extra)
    load_weights(tmp_path, backbone)
    assert_equal(backbone, ARRAYS)


def test_order_of_preference(tmp_path, backbone):
    for number, file_format in enumerate(("tf1", "h5", "safetensors")):
        arrays = generated.random_arrays(SHAPES, seed=number)
        path = write(tmp_path, file_format, arrays)
        assert load_weights(tmp_path, backbone).path == path
        assert_equal(backbone, arrays)


# Each model in one format by default, in the others with `-m slow`.
@pytest.mark.parametrize(
    ("name", "file_format"),
    [
        pytest.param(name, written, marks=() if written == default else pytest.mark.slow)
        for name, default in PAPER_MODELS.items()
        for written in generated.WRITERS
    ],
)
def test_paper_models_scaled_down(tmp_path, file_format, name):
    """Their layers and heads; heads of 4, a smaller vocabulary."""
    full = BACKBONES[name]
    width = 4 * full.num_heads
    config = BackboneConfig(full.num_layers, width, full.num_heads, 4 * width, 97, 24)
    arrays = generated.random_arrays(generated.tensor_shapes(config))
    assert len(arrays) == 5 + 16 * full.num_layers + 2 + 5
    write(tmp_path, file_format, arrays, config)
    backbone = build_backbone(read_config(tmp_path))
    load_weights(tmp_path, backbone)
    assert_equal(backbone, arrays)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("bert-base-chinese", 102_267_648),
        ("rbt3", 38_476_800),
        ("rbtl3", 61_001_728),
        ("roberta-wwm-ext-large", 325_522_432),
    ],
)
def test_generated_shapes_are_the_released_ones(name, parameters):
    shapes = generated.tensor_shapes(BACKBONES[name], masked_lm_head=False)
    assert generated.count_parameters(shapes) == parameters


@pytest.mark.slow
def test_rbt3_at_full_size(tmp_path, file_format):
    config = BACKBONES["rbt3"]
    arrays = generated.random_arrays(generated.tensor_shapes(config))
    write(tmp_path, file_format, arrays, config)
    backbone = build_backbone(read_config(tmp_path))
    load_weights(tmp_path, backbone)
    assert_equal(backbone, arrays)
