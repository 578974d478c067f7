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
DTYPE_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}  # of Keras
