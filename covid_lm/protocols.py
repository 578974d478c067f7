"""Choices by name, the paper's and ours. Free of TensorFlow."""

from typing import Any, Literal, TypedDict


class Layout(TypedDict, total=False):
    """Arguments of `preprocessor.Preprocessor`: how a picture becomes a sequence."""

    image_size: int
    color: Literal["rgb", "luminance"]
    further_sizes: tuple[int, ...]
    order: str
    levels: int
    head: int
    tail: int


PROTOCOLS = {  # name: (training policy, test policy)
    "paper": ("visible", "masked"),
    "masked": ("masked", "masked"),
    "fixed": ("fixed", "fixed"),
    "absent": ("absent", "absent"),
}
LAYOUTS: dict[str, Layout] = {  # a layout is nothing but arguments of the preprocessor
    "paper": {"image_size": 32, "color": "rgb"},
    "gray22": {"image_size": 22, "color": "luminance"},
    "levels32": {"image_size": 22, "color": "luminance", "levels": 32},
    "scales": {"image_size": 19, "further_sizes": (11,), "color": "luminance"},
    "gray16": {"image_size": 16, "color": "luminance", "head": 144, "tail": 144},
    "hilbert16": {
        "image_size": 16,
        "color": "luminance",
        "order": "hilbert",
        "head": 144,
        "tail": 144,
    },
}
LAYOUT_HELP = (
    "How the picture becomes tokens. paper: 32x32 RGB, trimmed. All others hold the whole picture "
    "in gray: gray22: 22x22; levels32: 22x22 in 32 levels; scales: 19x19, then 11x11; gray16: "
    "16x16, a shorter sequence; hilbert16: 16x16 along Hilbert's curve."
)
AUGMENTATIONS: dict[str, dict[str, Any]] = {  # arguments of `layers.augmentation`, without `none`
    "light": {"smallest_crop": 0.9, "flip": True, "contrast": 0.1, "brightness": 0.05},
    "strong": {"smallest_crop": 0.7, "flip": True, "contrast": 0.25, "brightness": 0.1},
}
SCHEDULES = ("constant", "cosine")  # of the learning rate: see `optimization`
PAPER_TRIM = {"head": 256, "tail": 256}  # positions kept, of a layout that names none
DTYPE_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}  # of Keras


def layout_trim(layout: str) -> dict[str, int]:
    """`head` and `tail` of a layout: the positions that its sequences keep."""
    arguments: dict[str, Any] = dict(LAYOUTS[layout])
    return {key: arguments.get(key, value) for key, value in PAPER_TRIM.items()}
