"""Images and models for the suites that start from image bytes. Does not import TensorFlow.

```
DIR/images/<file name>      encoded images
DIR/export/  DIR/map_fn/    SavedModels that differ in how images are decoded
DIR/vocab.txt               vocabulary of both
DIR/weights.safetensors     weights of both in float32, with Hugging Face's names
```
"""

import os

from covid_lm.benchmark.raw_image_contenders import IMAGES
from covid_lm.benchmark.worker import run_child
from covid_lm.data import load_dataset

MODELS = "covid_lm.benchmark.raw_image_models"


def write_raw_images(directory: str, backbone: str, dtype: str, data_dir: str | None) -> str:
    """Write these files to a new directory.

    Args:
        directory: path of the directory to make.
        backbone: encoder of a classifier with random weights, which reads the paper's sequence
            with masked names; a name that `backbone_config` accepts.
        dtype: arithmetic of both exports, "float32" or "bfloat16".
        data_dir: COVID-CT as published; the embedded phantom without it.

    Returns:
        One line that describes the images.

    Raises:
        InputError: there is no usable data set.
        RunError: the models can't be written.
    """
    description = write_images(os.path.join(directory, "images"), data_dir)
    run_child("writing of the benchmark's models", MODELS, directory, backbone, dtype)
    return description


def write_images(directory: str, data_dir: str | None) -> str:
    """Write images spread evenly over a test split, and describe them in one line."""
    dataset = load_dataset("covid_ct" if data_dir else "phantom", data_dir)
    test = dataset.split("test")
    chosen = [test[number * (len(test) - 1) // (IMAGES - 1)] for number in range(IMAGES)]
    os.makedirs(directory)
    size = 0
    for record in chosen:
        with open(os.path.join(directory, record.filename), "wb") as file:
            size += file.write(record.read())
    kilobytes = size / len(chosen) / 1000
    return f"Images: {len(chosen)} from the test split of {dataset.name}, mean {kilobytes:.0f} kB."
