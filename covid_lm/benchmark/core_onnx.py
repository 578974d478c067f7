"""The core of a run as an ONNX file, written by Keras on its PyTorch backend.

A child process writes it (`KERAS_BACKEND=torch python -m covid_lm.benchmark.core_onnx DIR`). On the
other backends, Keras' exporter needs tf2onnx.
"""

import os
import sys

import numpy as np

from covid_lm.benchmark.patch_image_contenders import CORE
from covid_lm.models.saving import load_classifier


def write_core(directory: str) -> None:
    """Export the classifier in `run/` of a directory, from token ids to probabilities."""
    core = load_classifier(os.path.join(directory, "run")).core
    # The exporter takes the shapes of a call; its batch dimension stays free.
    core({x.name: np.ones([1, *x.shape[1:]], np.int32) for x in core.inputs})
    core.export(os.path.join(directory, CORE), format="onnx", verbose=False)


if __name__ == "__main__":
    write_core(sys.argv[1])
