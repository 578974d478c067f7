"""EfficientNet-lite0 (Tan and Le 2019, without squeeze-and-excitation, with ReLU6) in Keras layers.

The layers have the names of the PyTorch definition (`efficientnet_lite_pytorch`), without their
leading underscores, so that its weights can be assigned by name.
"""

import re
from typing import Any, Literal

import keras
import numpy as np
from keras import layers

from covid_lm.backbones.weights.formats import open_safetensors
from covid_lm.errors import InputError

FEATURES = 1280
# Of each stage: blocks, side of the depthwise kernel, stride of the first block, expansion of the
# channels within a block, output channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's values in [0, 1]
# Suffixes of the PyTorch tensors, in the order of a Keras BatchNormalization's variables.
_NORMALIZATION = ("weight", "bias", "running_mean", "running_var")


def scale_pixels(pixels: Any) -> Any:
    """Maps values 0 to 255, [batch, height, width, 3], to the network's input, float32."""
    mean, deviation = (255 * np.array(values, np.float32) for values in (MEAN, DEVIATION))
    return (keras.ops.cast(pixels, "float32") - mean) / deviation


def efficientnet_lite0(
    input_shape: tuple[int | None, int | None, int],
    include_top: Literal[False] = False,
    weights: None = None,
    pooling: Literal["avg"] = "avg",
) -> keras.Model:
    """Builds the network with random weights, up to its globally averaged features.

    For sides that are multiples of 32, the padding is that of the PyTorch definition.

    Args:
        input_shape: height, width and 3.
        include_top, weights, pooling: as in `keras.applications`, with these values only.

    Returns:
        keras Model, float [batch, height, width, 3] from `scale_pixels` to float
        [batch, FEATURES].
    """
    inputs = keras.Input(input_shape)
    x = _normalize(_convolve(inputs, 32, 3, 2, "conv_stem"), "bn0")
    number = 0
    for blocks, kernel, first_stride, expansion, channels in STAGES:
        for stride in (first_stride, *(1,) * (blocks - 1)):
            x = _block(x, kernel, stride, expansion, channels, f"blocks.{number}")
            number += 1
    x = _normalize(_convolve(x, FEATURES, 1, 1, "conv_head"), "bn1")
    features = layers.GlobalAveragePooling2D(name="avg_pooling")(x)
    return keras.Model(inputs, features, name="efficientnet_lite0")


def _block(x: Any, kernel: int, stride: int, expansion: int, channels: int, name: str) -> Any:
    """An inverted residual block."""
    shortcut = x
    if expansion > 1:
        x = _convolve(x, expansion * x.shape[-1], 1, 1, f"{name}.expand_conv")
        x = _normalize(x, f"{name}.bn0")
    x = layers.DepthwiseConv2D(
        kernel, stride, "same", use_bias=False, name=f"{name}.depthwise_conv"
    )(x)
    x = _convolve(_normalize(x, f"{name}.bn1"), channels, 1, 1, f"{name}.project_conv")
    x = _normalize(x, f"{name}.bn2", relu=False)
    return layers.add([x, shortcut]) if stride == 1 and x.shape == shortcut.shape else x


def _convolve(x: Any, channels: int, kernel: int, stride: int, name: str) -> Any:
    return layers.Conv2D(channels, kernel, stride, "same", use_bias=False, name=name)(x)


def _normalize(x: Any, name: str, relu: bool = True) -> Any:
    x = layers.BatchNormalization(epsilon=1e-3, name=name)(x)
    return layers.ReLU(max_value=6)(x) if relu else x


def load_efficientnet(model: keras.Model, path: str) -> None:
    """Assigns the tensors of a safetensors file, whose classification head is not needed.

    Args:
        path: file with the names of the PyTorch definition.

    Raises:
        InputError: a damaged file, or a tensor that is missing, has another shape or is not
            finite; then nothing is assigned.
    """
    file, values = open_safetensors(path), []
    for layer in model.layers:
        suffixes = _NORMALIZATION if len(layer.variables) > 1 else ("weight",)
        for variable, suffix in zip(layer.variables, suffixes, strict=False):
            name = f"{torch_name(layer.name)}.{suffix}"
            if name not in file.specs:
                raise InputError(f"{path}: no tensor {name}; give EfficientNet-lite0's own weights")
            value = file.read(name)
            if isinstance(layer, layers.DepthwiseConv2D):
                value = value.transpose(2, 3, 0, 1)  # [channels, 1, height, width]
            elif value.ndim == 4:
                value = value.transpose(2, 3, 1, 0)  # [outputs, inputs, height, width]
            if value.shape != tuple(variable.shape):
                raise InputError(
                    f"{path}: tensor {name} has another shape than EfficientNet-lite0's"
                )
            if not np.isfinite(value).all():
                raise InputError(f"{path}: tensor {name} has values that are not finite")
            values.append((variable, value))
    for variable, value in values:
        variable.assign(value)


def torch_name(layer_name: str) -> str:
    """The PyTorch module of a layer: `blocks.1.bn0` is `_blocks.1._bn0`."""
    return re.sub(r"(^|\.)(?=[a-z])", r"\1_", layer_name)
