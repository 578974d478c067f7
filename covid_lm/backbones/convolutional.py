"""Convolutional networks for comparison (paper, section 3.4), and teachers."""

import os
from collections.abc import Callable

import keras

from covid_lm.backbones.configs import CONVOLUTIONAL_NETWORKS, TEACHER
from covid_lm.backbones.efficientnet_lite import (
    efficientnet_lite0,
    load_efficientnet,
    scale_pixels,
)
from covid_lm.backbones.teacher import teacher_weights
from covid_lm.backbones.weights.hdf5 import load_hdf5_weights
from covid_lm.errors import InputError, UnusableFile

# Constructor, and the scaling of pixels that the published weights expect.
_NETWORKS = {
    "resnet50": (keras.applications.ResNet50, keras.applications.resnet.preprocess_input),
    "densenet121": (keras.applications.DenseNet121, keras.applications.densenet.preprocess_input),
    "densenet169": (keras.applications.DenseNet169, keras.applications.densenet.preprocess_input),
    TEACHER: (efficientnet_lite0, scale_pixels),
}
assert tuple(_NETWORKS) == CONVOLUTIONAL_NETWORKS


def pooled_features(
    name: str, pixels: keras.KerasTensor, weights: str | None, dtype_policy: str
) -> keras.KerasTensor:
    """Builds the network up to its globally averaged features.

    Args:
        name: one of `CONVOLUTIONAL_NETWORKS`.
        pixels: symbolic, uint8 [batch, height, width, 3], sides of 32 or more.
        weights: HDF5 file of `keras.applications` without the top, or for EfficientNet-lite0 as
            `teacher_weights`; random weights if None.
        dtype_policy: Keras policy of weights and arithmetic.

    Returns:
        Symbolic, [batch, features], in the compute dtype.

    Raises:
        InputError: not a file with that network's weights.
    """
    constructor, scale = _NETWORKS[name]
    load: Callable[[keras.Model, str], None] = load_hdf5_weights
    if weights is not None and name == TEACHER:
        weights, load = teacher_weights(weights), load_efficientnet
    if weights is not None and not os.path.exists(weights):
        raise InputError(f"--weights={weights}: no such file; {name} takes one HDF5 file")
    # keras.applications takes no dtype: its layers follow the global policy.
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype_policy)
    try:
        scaled = scale(keras.ops.cast(pixels, "float32"))
        network = constructor(
            include_top=False, weights=None, input_shape=pixels.shape[1:], pooling="avg"
        )
        if weights is not None:
            load(network, weights)
        return network(scaled)
    except UnusableFile as error:
        message = f"--weights={weights}: not {name} without its top ({error.strerror})"
        raise InputError(message) from None
    finally:
        keras.config.set_dtype_policy(previous)
