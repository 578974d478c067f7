"""Shared fixtures: quiet TensorFlow, small pictures, and the real data where it is at hand."""

import contextlib
import fcntl
import functools
import io
import os
import pathlib
import tarfile
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from PIL import Image

from covid_lm.data.phantom import dataset
from covid_lm.errors import InputError

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


@pytest.fixture(scope="session")
def slices_drawn_once():
    """Draws each of the phantom's slices once; data sets with and without a leak share most."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "draw_slice", functools.lru_cache(1500)(dataset.draw_slice))
        yield


@pytest.fixture(scope="session")
def covid_ct_dir() -> str:
    directory = SHARED_DATA / "covid_ct"
    if not directory.is_dir():
        pytest.skip("needs COVID-CT at ../shared/data/covid_ct")
    return str(directory)


@pytest.fixture(scope="session")
def chinese_vocabulary_file() -> str:
    path = SHARED_DATA / "bert-base-chinese-vocab.txt"
    if not path.is_file():
        pytest.skip("needs the vocabulary at ../shared/data/bert-base-chinese-vocab.txt")
    return str(path)


def random_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth random colours, R, G and B different, uint8 [height, width, 3]."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, [4, 4, 3], dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.BILINEAR))


def encode(pixels: np.ndarray, image_format: str = "PNG", **options) -> bytes:
    """The pixels as an image file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, image_format, **options)
    return buffer.getvalue()


@contextlib.contextmanager
def refused_as_locked(model_dir: pathlib.Path) -> Iterator[None]:
    """Locks an unfinished run as a process that trains there; the block must be refused for it."""
    staged = model_dir / ".run-in-progress"
    staged.mkdir(parents=True)
    descriptor = os.open(staged, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        with pytest.raises(InputError) as error:
            yield
    finally:
        os.close(descriptor)
    assert str(error.value) == (
        f"{model_dir}: another process is training there; wait for it, or give another --name"
    )


@pytest.fixture(scope="session")
def finished_run(image_folder, tmp_path_factory):
    """The `TrainingResult` of two epochs on `image_folder` under the paper's protocol.

    Tests that change its files copy them first.
    """
    from covid_lm.train import train
    from covid_lm.training.options import TrainingOptions

    return train(
        TrainingOptions(
            dataset="folder",
            data_dir=image_folder,
            backbone="1x64",
            epochs=2,
            batch_size=4,
            learning_rate=3e-3,
            name="run-1",
            output_dir=str(tmp_path_factory.mktemp("saved_models")),
        )
    )


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory) -> str:
    """A folder data set of two easy classes, dark and bright, with all three splits."""
    root = tmp_path_factory.mktemp("image_folder")
    generator = np.random.default_rng(0)
    for split, count in (("train", 12), ("val", 4), ("test", 5)):
        for class_name, level in (("bright", 200), ("dark", 40)):
            directory = root / split / class_name
            directory.mkdir(parents=True)
            for number in range(count):
                noise = generator.integers(-30, 31, [40, 50, 3])
                pixels = np.clip(level + noise, 0, 255).astype(np.uint8)
                image_format = ("PNG", "JPEG")[number % 2]
                name = f"{class_name[0]}{number:03}.{image_format.lower()}"
                (directory / name).write_bytes(encode(pixels, image_format))
    return str(root)


@pytest.fixture(scope="session")
def older_runs(tmp_path_factory) -> pathlib.Path:
    """Directory with `run` and `pretraining`, made by an older commit (see test_older_runs.py)."""
    root = tmp_path_factory.mktemp("older")
    with tarfile.open(pathlib.Path(__file__).parent / "fixtures" / "older_runs.tar.xz") as archive:
        archive.extractall(root, filter="data")
    return root / "older_runs"
