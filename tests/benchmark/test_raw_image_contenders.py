"""Contenders that start from image bytes: all give the same answers."""

import dataclasses
import functools
import importlib.util
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from covid_lm.benchmark import suites
from covid_lm.benchmark.cache_contender import pixel_cache
from covid_lm.benchmark.cases import Case, Options
from covid_lm.benchmark.onnx_contenders import onnx_runtime, openvino
from covid_lm.benchmark.onnx_models import write_onnx
from covid_lm.benchmark.patch_image_contenders import CORE, onnx_core, pillow_vit
from covid_lm.benchmark.raw_image_contenders import (
    IMAGES,
    export,
    map_fn,
    pillow_hf,
    pillow_hf_tuned,
)
from covid_lm.benchmark.raw_image_models import write_models
from covid_lm.benchmark.raw_images import write_images
from covid_lm.benchmark.speed_tables import report
from covid_lm.benchmark.suites import CORE_MODULE
from covid_lm.environment import run_child
from covid_lm.errors import InputError
from covid_lm.layers.image_input import ImageInput
from covid_lm.models.preprocessor import Preprocessor
from tests.conftest import encode, random_picture

TOKENS = {
    "token_ids": "input_ids",
    "segment_ids": "token_type_ids",
    "padding_mask": "attention_mask",
}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = str(tmp_path_factory.mktemp("material"))
    images = write_images(os.path.join(path, "images"), None)
    assert images.startswith(f"Images: {IMAGES} from the test split of phantom, mean ")
    write_models(path, "1x64", "float32")
    if all(map(importlib.util.find_spec, ("onnxscript", "transformers"))):
        write_onnx(path, Case("serving", "1x64", "float32", 1, threads=2))
    return path


@pytest.fixture(scope="module")
def exact_directory(directory, tmp_path_factory):
    """The same models, and images that are 32x32 already: no resize to differ in."""
    path = tmp_path_factory.mktemp("exact")
    for name in os.listdir(directory):
        if name != "images":
            (path / name).symlink_to(os.path.join(directory, name))
    (path / "images").mkdir()
    for seed in range(IMAGES):
        name = "x" * (1 + 8 * seed)
        (path / "images" / name).write_bytes(encode(random_picture(32, 32, seed)))
    return str(path)


@pytest.fixture(autouse=True)
def free_threads(monkeypatch):
    """Other tests have started TensorFlow, which then refuses another number of threads."""
    for kind in ("intra", "inter"):
        name = f"set_{kind}_op_parallelism_threads"
        monkeypatch.setattr(tf.config.threading, name, lambda threads: None)


@functools.cache
def answers(contender, directory, task, batch_size=8) -> dict[str, np.ndarray]:
    """Of all images, from a step as a worker runs it."""
    step = contender(Case(task, "1x64", "float32", batch_size, threads=2, material=directory))
    parts = step()
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


@pytest.mark.parametrize("contender", [pillow_hf, pillow_hf_tuned])
@pytest.mark.parametrize("batch_size", [1, 12])
def test_pillow_and_tokenizer_give_the_export_s_tokens(contender, batch_size, directory):
    pytest.importorskip("transformers")
    ours = answers(export, directory, "preprocessing")
    theirs = answers(contender, directory, "preprocessing", batch_size)
    assert len(theirs["input_ids"]) == IMAGES
    # Channel values have consecutive ids: one level of difference in the resize is one id.
    difference = np.abs(ours["token_ids"] - theirs["input_ids"])
    assert difference.max() <= 1
    assert difference.mean() < 0.15
    for key in ("segment_ids", "padding_mask"):
        np.testing.assert_array_equal(ours[key], theirs[TOKENS[key]])


@pytest.mark.parametrize("contender", [map_fn, pillow_hf, pillow_hf_tuned])
def test_all_answer_the_same_where_no_resize_differs(contender, exact_directory):
    if contender is not map_fn:
        pytest.importorskip("torch")
        pytest.importorskip("transformers")
    tokens = answers(export, exact_directory, "preprocessing")
    rival = answers(contender, exact_directory, "preprocessing")
    for ours, theirs in TOKENS.items():
        np.testing.assert_array_equal(tokens[ours], rival[ours if contender is map_fn else theirs])
    ours = answers(export, exact_directory, "serving")["probabilities"]
    theirs = answers(contender, exact_directory, "serving")["probabilities"]
    assert np.ptp(ours[:, 0]) > 1e-4
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize(
    ("contender", "package"), [(onnx_runtime, "onnxruntime"), (openvino, "openvino")]
)
def test_runtimes_of_onnx_answer_the_same(contender, package, exact_directory):
    for name in (package, "onnxscript", "torch", "transformers"):
        pytest.importorskip(name)
    ours = answers(export, exact_directory, "serving")["probabilities"]
    theirs = answers(contender, exact_directory, "serving")["probabilities"]
    np.testing.assert_allclose(ours, theirs, atol=2e-6)
    case = Case("serving", "1x64", "float32", 1, 2, material=exact_directory, callers=4)
    step = contender(case)
    with ThreadPoolExecutor(case.callers) as pool:
        running = [pool.submit(step) for _ in range(8)]
    found = np.sort([call.result()["probabilities"][0, 0] for call in running])
    np.testing.assert_allclose(found, np.sort(ours[:, 0]), atol=2e-6)


def test_runtimes_serve_patches(tmp_path):
    for name in ("onnxruntime", "onnxscript", "torch", "transformers"):
        pytest.importorskip(name)
    layout, path = "patches32x4rgb", str(tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(IMAGES):  # no resize to differ in
        (images / f"{seed:02}.png").write_bytes(encode(random_picture(32, 32, seed)))
    write_models(path, "6x128", "float32", layout)
    run_child("export", CORE_MODULE, str(tmp_path / "run"), path, "onnx", keras_backend="torch")
    assert os.path.exists(tmp_path / CORE)
    case = Case("serving", "6x128", "float32", 8, 2, length=67, layout=layout, material=path)
    case = dataclasses.replace(case, dropout=0.0)
    ours, core, vit = (
        np.concatenate([part["probabilities"] for part in contender(case)()])
        for contender in (export, onnx_core, pillow_vit)
    )
    assert np.ptp(ours[:, 0]) > 1e-4
    np.testing.assert_allclose(ours, core, atol=2e-6)
    np.testing.assert_allclose(vit.sum(axis=1), 1, atol=1e-6)
    assert vit.shape == ours.shape


def test_a_start_from_cached_pixels_decodes_no_image(monkeypatch):
    decoded, tokenized = [], []
    tokenize = Preprocessor.tokenize

    def counted(self, pixels, names):
        tokenized.append(len(pixels))
        return tokenize(self, pixels, names)

    monkeypatch.setattr(ImageInput, "call", lambda self, image_bytes: decoded.append(image_bytes))
    monkeypatch.setattr(Preprocessor, "tokenize", counted)
    pixel_cache(Case("cache", "4x256", "float32", 300, threads=2))()
    assert decoded == []
    assert sum(tokenized) == 300


def test_map_fn_gives_the_export_s_tokens_up_to_its_jpeg_decoder(directory):
    ours = answers(export, directory, "preprocessing")
    variant = answers(map_fn, directory, "preprocessing")
    names = sorted(os.listdir(os.path.join(directory, "images")))
    is_png = np.array([name.endswith(".png") for name in names])
    assert 0 < is_png.sum() < IMAGES
    np.testing.assert_array_equal(ours["token_ids"][is_png], variant["token_ids"][is_png])
    # decode_image's inverse DCT is the fast one, not the accurate one.
    assert np.abs(ours["token_ids"] - variant["token_ids"]).max() <= 6
    for key in ("segment_ids", "padding_mask"):
        np.testing.assert_array_equal(ours[key], variant[key])


def test_a_step_of_concurrent_callers_answers_one_image(directory):
    step = export(Case("serving", "1x64", "float32", 1, 2, material=directory, callers=4))
    first, second = step()["probabilities"], step()["probabilities"]
    assert first.shape == second.shape == (1, 2)
    assert (first != second).any()


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["preprocessing", "serving"])
def test_real_processes_measure_and_report(suite):
    options = Options(backbones=("1x64",), batch_sizes=(32,), dtypes=("float32",), rounds=1)
    options = dataclasses.replace(options, layouts=("paper",))
    result = suites.run(suite, dataclasses.replace(options, rivals=("map_fn",)))
    case = result["cases"][0]
    assert set(case["contenders"]) == {"export", "map_fn"}
    assert case["figures"]["map_fn"]["median"] > 0
    text = report(result)
    assert "batch 32" in text
    assert " Images: 32 from the test split of phantom, " in text
    if suite == "serving":
        latency = result["cases"][1]
        assert len(latency["contenders"]["export"]["calls"][0]) >= 40
        percentiles = latency["latencies"]["export"]
        assert 0 < percentiles["p50"] <= percentiles["p99"]
        assert "4 callers" in text


def test_no_data_set_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        suites.run("preprocessing", Options(backbones=("1x64",), data_dir=str(tmp_path)))
