"""Shared fixtures: quiet TensorFlow, small pictures, and the real data where it is at hand."""

import contextlib
import fcntl
import functools
import gc
import io
import os
import pathlib
import pickle
import shutil
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from PIL import Image

from covid_lm.data.phantom import dataset
from covid_lm.errors import InputError

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"


def pytest_collection_finish() -> None:
    """Leaves what the imports made out of garbage collections, 8% of the time of tracing graphs."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


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


@pytest.fixture(scope="session")
def made_once(tmp_path_factory) -> Callable[[str, Callable[[pathlib.Path], Any]], Any]:
    """Function of a name and a function that makes files in a new directory of that name.

    Of all processes of a test run (`pytest -n`), the first that asks makes them. The others wait
    and get the same result, which must be picklable.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def get(name: str, make: Callable[[pathlib.Path], Any]) -> Any:
        directory, result = root / name, root / f"{name}.pickle"
        with open(root / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not result.exists():
                shutil.rmtree(directory, ignore_errors=True)
                directory.mkdir()
                result.write_bytes(pickle.dumps(make(directory)))
        return pickle.loads(result.read_bytes())

    return get


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


@contextlib.contextmanager
def exports_not_compared() -> Iterator[None]:
    """Publishes exports without loading them, for tests of other files of a run."""
    from covid_lm.serving import saved_model

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saved_model, "export_difference", lambda *_: 0.0)
        yield


@pytest.fixture(scope="session")
def finished_run(image_folder, made_once):
    """The `TrainingResult` of two epochs on `image_folder` under the paper's protocol.

    Tests that change its files copy them first.
    """
    from covid_lm.training.options import TrainingOptions
    from covid_lm.training_run import train

    def make(directory: pathlib.Path):
        return train(
            TrainingOptions(
                dataset="folder",
                data_dir=image_folder,
                backbone="1x64",
                epochs=2,
                batch_size=4,
                learning_rate=3e-3,
                name="run-1",
                output_dir=str(directory),
            )
        )

    return made_once("saved_models", make)


@pytest.fixture(scope="session")
def image_folder(made_once) -> str:
    """A folder data set of two easy classes, dark and bright, with all three splits."""
    return made_once("image_folder", _draw_image_folder)


def _draw_image_folder(root: pathlib.Path) -> str:
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
