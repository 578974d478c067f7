"""Named choices, the paper's and ours: protocols, layouts, augmentations. Imports no TensorFlow."""

from typing import Any, Literal, TypedDict

from covid_lm.errors import InputError


class Layout(TypedDict, total=False):
    """Arguments of `models.preprocessor.Preprocessor` that determine the sequence of an image."""

    image_size: int
    color: Literal["rgb", "luminance"]
    head: int
    tail: int


PROTOCOLS = {  # name: (training policy, test policy)
    "paper": ("visible", "masked"),
    "masked": ("masked", "masked"),
    "fixed": ("fixed", "fixed"),
    "absent": ("absent", "absent"),
}
LAYOUTS: dict[str, Layout] = {
    "paper": {"image_size": 32, "color": "rgb"},
    "gray22": {"image_size": 22, "color": "luminance"},
}
LAYOUT_HELP = (
    "Image to tokens: paper, 32x32 RGB, trimmed; gray22, 22x22 luminance, the whole image."
)
AUGMENTATIONS: dict[str, dict[str, Any]] = {  # arguments of `Augmentation`
    "light": {"smallest_crop": 0.9, "flip": True, "contrast": 0.1, "brightness": 0.05},
    "strong": {"smallest_crop": 0.7, "flip": True, "contrast": 0.25, "brightness": 0.1},
    "heavy": {"smallest_crop": 0.67, "flip": True, "contrast": 0.4, "brightness": 0.15},
    "crop": {"shift": 0.125, "flip": True},
    "rand": {"shift": 0.125, "flip": True, "operations": 0.5},
    "erase": {"shift": 0.125, "flip": True, "operations": 0.5, "erasing": 0.25},
}
MIXES = ("none", "mixup", "cutmix", "both")  # of training images and their labels
SCHEDULES = ("constant", "cosine")  # of the learning rate
# Options that earlier versions had, each with the value that has no effect; and the last commit
# that supports their other values and the removed layouts.
REMOVED_OPTIONS = {"views": 1, "reading": "decimal", "token_dropout": 0.0}
REMOVED_LAYOUTS = ("levels32", "scales", "gray16", "hilbert16")
LAST_COMMIT_WITH_THEM = "aca75e6"
PAPER_TRIM = {"head": 256, "tail": 256}  # for layouts without these arguments
DTYPE_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}  # Keras' names


def layout_trim(layout: str) -> dict[str, int]:
    """Returns `head` and `tail` of a layout, the numbers of positions that the trim keeps."""
    arguments: dict[str, Any] = dict(LAYOUTS[layout])
    return {key: arguments.get(key, value) for key, value in PAPER_TRIM.items()}


def without_removed_options(config: dict, path: str) -> dict:
    """Returns a run's stored config without the options that this version no longer has.

    Args:
        config: the section `run` or `classifier` of `config.json`.
        path: location of the config, for the message.

    Raises:
        InputError: a removed option has a value that changes the model, or the layout was removed.
    """
    removed = [
        f"{key} {config[key]}"
        for key, neutral in REMOVED_OPTIONS.items()
        if config.get(key, neutral) != neutral
    ]
    if config.get("layout") in REMOVED_LAYOUTS:
        removed.append(f"layout {config['layout']}")
    if removed:
        raise InputError(
            f"{path}: a run with {', '.join(removed)}, which this version no longer reads; "
            f"use commit {LAST_COMMIT_WITH_THEM}"
        )
    return {key: value for key, value in config.items() if key not in REMOVED_OPTIONS}
