"""Named choices, the paper's and ours: protocols, layouts, augmentations. Imports no TensorFlow."""

import re
from typing import Any, Literal, TypedDict

from covid_lm.errors import InputError


class Layout(TypedDict, total=False):
    """Arguments of `models.preprocessor.Preprocessor` that determine the sequence of an image.

    Without `patch_size`, each token is one channel value.
    """

    image_size: int
    color: Literal["rgb", "luminance"]
    patch_size: int
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
    "Image to tokens: paper, 32x32 RGB, trimmed; gray22, 22x22 luminance, the whole image; "
    "patches128x8, a token for each 8x8 patch of 128x128 luminance; patches32x4rgb, of RGB."
)
MAX_POSITIONS = 512  # of the paper's BERTs
NAME_POSITIONS = 64  # for the name and its [SEP] after patches; a longer name keeps its end
FIXED_LENGTH = 24  # characters of a name under the `fixed` policy
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
PAPER_TRIM = {"head": 256, "tail": 256}
DTYPE_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}  # Keras' names


def layout_arguments(name: str) -> Layout:
    """Returns the arguments of a named layout, or of `patches{SIZE}x{PATCH}`, gray or `rgb`.

    Raises:
        InputError: unknown name, a patch that doesn't divide the image, or too many patches.
    """
    if name in LAYOUTS:
        return LAYOUTS[name]
    found = re.fullmatch(r"patches([1-9]\d{0,3})x([1-9]\d{0,3})(rgb)?", name)
    if not found:
        raise InputError(
            f"--layout={name}: no such layout; choose one of {', '.join(LAYOUTS)}, or patches such "
            "as patches128x8 (128x128 luminance in 8x8 patches) and patches32x4rgb (colour)"
        )
    size, patch = int(found[1]), int(found[2])
    if size % patch:
        raise InputError(f"--layout={name}: patches of {patch} don't divide {size} pixels")
    patches, room = (size // patch) ** 2, MAX_POSITIONS - 3  # [CLS], [SEP], [SEP]
    if patches > room:
        raise InputError(
            f"--layout={name}: {patches} patches, but the sequence holds {room}; use larger patches"
        )
    return {
        "image_size": size,
        "color": "rgb" if found[3] else "luminance",
        "patch_size": patch,
        "head": patches + 2,
    }


def layout_trim(layout: str, protocol: str = "paper") -> dict[str, int]:
    """Returns `head` and `tail` of a layout, the numbers of positions that the trim keeps.

    Patches are followed by as many positions as the protocol's names need.
    """
    arguments = layout_arguments(layout)
    if "patch_size" not in arguments:
        return dict(PAPER_TRIM)
    lengths = {"absent": 1, "fixed": FIXED_LENGTH + 1}
    policies = PROTOCOLS[protocol]
    tail = max(lengths.get(policy, NAME_POSITIONS) for policy in policies)
    return {"head": arguments["head"], "tail": min(tail, MAX_POSITIONS - arguments["head"])}


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
