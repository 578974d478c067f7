"""Images and models for the suites that start from image bytes. Does not import TensorFlow.

```
DIR/images/<file name>      encoded images
DIR/export/  DIR/map_fn/    SavedModels that differ in how images are decoded
DIR/hugging_face/           configuration, vocabulary and weights of their encoder
DIR/dense.npz               kernel [hidden, 2] and bias of their last layer
```

With a layout of patches, DIR/export/ has the shipped weights and a random last layer, and DIR/run/
is in place of the other models.
"""

import os

from covid_lm.benchmark.raw_image_contenders import IMAGES
from covid_lm.data import load_dataset
from covid_lm.environment import run_child

MODELS = "covid_lm.benchmark.raw_image_models"


def write_raw_images(
    directory: str, backbone: str, dtype: str, data_dir: str | None, layout: str = ""
) -> str:
    """Write these files to a new directory, and return a line that describes the images.

    Without `layout`, the models have random weights and read the paper's sequence with masked
    names. `data_dir` is COVID-CT as published, or None for the embedded phantom.

    Raises:
        InputError: there is no usable data set.
        RunError: the models can't be written.
    """
    description = write_images(os.path.join(directory, "images"), data_dir)
    run_child("writing of the benchmark's models", MODELS, directory, backbone, dtype, layout)
    return description


def write_images(directory: str, data_dir: str | None) -> str:
    """Write images spread evenly over a test split, and describe them in one line."""
    dataset = load_dataset("covid_ct" if data_dir else "phantom", data_dir)
    test = dataset.split("test")
    os.makedirs(directory)
    size = 0
    for number in range(IMAGES):
        record = test[number * (len(test) - 1) // (IMAGES - 1)]
        with open(os.path.join(directory, record.filename), "wb") as file:
            size += file.write(record.read())
    kilobytes = size / IMAGES / 1000
    return f"Images: {IMAGES} from the test split of {dataset.name}, mean {kilobytes:.0f} kB."
