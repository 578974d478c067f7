"""The paper's choices of what the model reads, by name. Free of TensorFlow."""

PROTOCOLS = {  # name: (training policy, test policy)
    "paper": ("visible", "masked"),
    "masked": ("masked", "masked"),
    "fixed": ("fixed", "fixed"),
    "absent": ("absent", "absent"),
}
LAYOUTS = {  # a layout is nothing but arguments of the preprocessor
    "paper": {"image_size": 32, "color": "rgb"},
    "gray22": {"image_size": 22, "color": "luminance"},
}
