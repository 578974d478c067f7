"""What the suites on raw images measure with; free of TensorFlow.

```
DIR/images/<file name>      encoded images
DIR/export/  DIR/map_fn/    SavedModels that differ in how images are decoded
DIR/vocab.txt               of both
DIR/weights.safetensors     theirs in float32, under Hugging Face's names
```
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from covid_lm.benchmark.raw_image_contenders import IMAGES
from covid_lm.benchmark.worker import process_environment
from covid_lm.data import load_dataset
from covid_lm.errors import RunError


@contextlib.contextmanager
def raw_images(backbone: str, dtype: str, data_dir: str | None) -> Iterator[tuple[str, str]]:
    """Writes all of the above to a directory that ends with the context.

    Args:
        backbone: of a classifier with random weights that reads the paper's sequence under masked
            names; a name that `backbone_config` knows.
        dtype: of both exports.
        data_dir: COVID-CT as published; the embedded phantom without it.

    Yields:
        The directory, and one line on the images in it.

    Raises:
        InputError: no usable data set there.
        RunError: the models can't be written.
    """
    with tempfile.TemporaryDirectory() as directory:
        images = write_images(os.path.join(directory, "images"), data_dir)
        command = [sys.executable, "-m", "covid_lm.benchmark.raw_image_models"]
        command += [directory, backbone, dtype]
        process = subprocess.run(command, env=process_environment(), capture_output=True, text=True)
        if process.returncode:
            said = process.stderr.strip().splitlines() or ["no message"]
            raise RunError(f"benchmark: no models written, {said[-1]}")
        yield directory, images


def write_images(directory: str, data_dir: str | None) -> str:
    """Writes images spread evenly over a test split, and says in one line what they are."""
    dataset = load_dataset("covid_ct" if data_dir else "phantom", data_dir)
    test = dataset.split("test")
    chosen = [test[number * (len(test) - 1) // (IMAGES - 1)] for number in range(IMAGES)]
    os.makedirs(directory)
    size = 0
    for record in chosen:
        with open(os.path.join(directory, record.filename), "wb") as file:
            size += file.write(record.read())
    return (
        f"{len(chosen)} images from the test split of {dataset.name}, "
        f"{size / len(chosen) / 1000:.0f} kB on average"
    )
