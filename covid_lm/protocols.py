"""Choices by name, the paper's and ours. Free of TensorFlow."""

from typing import Literal, TypedDict


class Layout(TypedDict):
    """Height and width of the resized image, and what is kept of its colour."""

    image_size: int
    color: Literal["rgb", "luminance"]


PROTOCOLS = {  # name: (training policy, test policy)
    "paper": ("visible", "masked"),
    "masked": ("masked", "masked"),
    "fixed": ("fixed", "fixed"),
    "absent": ("absent", "absent"),
}
LAYOUTS: dict[str, Layout] = {  # a layout is nothing but arguments of the preprocessor
    "paper": {"image_size": 32, "color": "rgb"},
    "gray22": {"image_size": 22, "color": "luminance"},
}
AUGMENTATIONS = {  # arguments of `layers.augmentation`, without `none`
    "light": {"smallest_crop": 0.9, "flip": True, "contrast": 0.1, "brightness": 0.05},
    "strong": {"smallest_crop": 0.7, "flip": True, "contrast": 0.25, "brightness": 0.1},
}
SCHEDULES = ("constant", "cosine")  # of the learning rate: see `optimization`
DTYPE_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}  # of Keras
