"""Weights that ship with the package, the default start of their layouts, and others by name.

Imports no TensorFlow.
"""

import os

from covid_lm.backbones.weights.hub import hub_directory, is_hub_name
from covid_lm.files import read_json

SHIPPED = "shipped"  # in place of a directory
_FOLDER = os.path.normpath(os.path.join(os.path.dirname(__file__), "..", "..", "shipped_weights"))


def shipped_directory(layout: str) -> str | None:
    """The directory of the weights for a layout, as `--weights` takes it; None without any."""
    directory = os.path.join(_FOLDER, layout)
    return directory if os.path.isfile(os.path.join(directory, "config.json")) else None


def shipped_backbone(layout: str) -> str | None:
    """The backbone, such as "6x128", of the weights for a layout; None without any."""
    directory = shipped_directory(layout)
    if directory is None:
        return None
    config = read_json(os.path.join(directory, "config.json"))
    return f"{config['num_hidden_layers']}x{config['hidden_size']}"


def weights_directory(weights: str | None, layout: str) -> str | None:
    """The directory that `--weights` means: itself, of shipped or downloaded ones, or None.

    Raises:
        InputError, RunError: see `hub_directory`.
    """
    if is_hub_name(weights):
        return hub_directory(weights)
    return shipped_directory(layout) if weights == SHIPPED else weights
