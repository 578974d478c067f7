"""Readers of three checkpoint formats; each opens a `TensorFile` and reads one tensor at a time.

Readers are independent of BERT; `tensor_names` knows its names.
"""

import contextlib
import dataclasses
import glob
import math
import os
import re
from collections.abc import Callable, Iterator

import h5py
import numpy as np

# TensorFlow registers numpy's bfloat16, which safetensors looks up by name.
import tensorflow as tf
from safetensors import SafetensorError, safe_open

from covid_lm.backbones.weights.hdf5 import check_hdf5
from covid_lm.errors import InputError
from covid_lm.files import WEIGHT_BYTES, check_file, refuse_link_out

_READ_ERRORS = (SafetensorError, tf.errors.OpError, OSError, LookupError, RuntimeError, ValueError)
_CACHED_MODEL = re.compile(r".*/models--[^/]+\Z")  # a folder of Hugging Face's cache
_FETCH_AGAIN = "it is truncated or damaged: fetch it again"


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """Shape and type of a tensor whose values have not been read."""

    shape: tuple[int, ...]
    is_floating: bool


@dataclasses.dataclass(frozen=True)
class TensorFile:
    """One opened checkpoint.

    Attributes:
        path: the file, for messages.
        specs: by the tensor names in the file.
        read: name -> float32 array of `specs[name].shape`, for any float type in the file. Keeps
            no tensor in memory. Raises `InputError` for damaged data.
    """

    path: str
    specs: dict[str, TensorSpec]
    read: Callable[[str], np.ndarray]


def refuse_unsafe_file(path: str, limit: int = WEIGHT_BYTES) -> None:
    """Checks a file of a weight directory before it is read.

    In Hugging Face's cache, the files in `snapshots/REVISION` are links to `blobs` of that model,
    which may be links to `blobs` of the cache, of files that several models share.

    Raises:
        InputError: a link out of the directory, or out of the model's folder and the `blobs` in
            that cache; not a regular file, or too large; or git-LFS's placeholder for a large file.
    """
    root = os.path.realpath(os.path.dirname(path))
    snapshots = os.path.dirname(root)
    if os.path.basename(snapshots) == "snapshots":
        root = os.path.dirname(snapshots)
    shared = os.path.join(os.path.dirname(root), "blobs", "")
    if not (_CACHED_MODEL.match(root) and os.path.realpath(path).startswith(shared)):
        refuse_link_out(path, root)
    check_file(path, limit)
    with open(path, "rb") as file:
        if file.read(26) == b"version https://git-lfs.gi":
            raise InputError(
                f"{path}: a git-LFS pointer, not the file itself: run `git lfs pull` in its folder"
            )


@contextlib.contextmanager
def _refuse_damage(problem: str) -> Iterator[None]:
    """Turns the errors of the three libraries into `InputError`."""
    try:
        yield
    except _READ_ERRORS as error:
        raise InputError(f"{problem}; {_FETCH_AGAIN}") from error


def open_safetensors(path: str) -> TensorFile:
    """Opens a `model.safetensors`: float32, float16, float64 or bfloat16.

    Raises:
        InputError: a git-LFS pointer, a truncated file.
    """
    refuse_unsafe_file(path)
    specs = {}
    with (
        _refuse_damage(f"{path}: not a complete safetensors file"),
        safe_open(path, framework="numpy") as file,
    ):
        for name in file.keys():  # noqa: SIM118 (no mapping: it has no iterator)
            view = file.get_slice(name)
            is_floating = view.get_dtype() in ("F16", "BF16", "F32", "F64")
            specs[name] = TensorSpec(tuple(view.get_shape()), is_floating)

    def read(name: str) -> np.ndarray:
        # Opened for each tensor, because the pages of a mapped file count as used memory.
        problem = f"{path}: tensor {name} cannot be read"
        with _refuse_damage(problem), safe_open(path, framework="numpy") as file:
            return np.asarray(file.get_tensor(name), np.float32)

    return TensorFile(path, specs, read)


def open_h5(path: str) -> TensorFile:
    """Opens a `tf_model.h5` of Hugging Face's TensorFlow models.

    A tensor's name is its path in the file: the group of its top-level layer, then the name of the
    variable (`bert/tf_bert_for_pre_training/bert/embeddings/LayerNorm/gamma:0`).

    Raises:
        InputError: a git-LFS pointer, a truncated file.
    """
    refuse_unsafe_file(path)
    specs = {}

    def collect(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            specs[name] = TensorSpec(item.shape, item.dtype.kind == "f")

    check_hdf5(path)
    with _refuse_damage(f"{path}: not a complete HDF5 file"), h5py.File(path, "r") as file:
        file.visititems(collect)

    def read(name: str) -> np.ndarray:
        problem = f"{path}: tensor {name} cannot be read"
        with _refuse_damage(problem), h5py.File(path, "r") as file:
            return np.asarray(file[name][()], np.float32)

    return TensorFile(path, specs, read)


def open_tf1_checkpoint(index: str) -> TensorFile:
    """Opens the checkpoint whose index file (`bert_model.ckpt.index`) is given.

    Raises:
        InputError: a git-LFS pointer, a shard that is missing or truncated, a damaged index.
    """
    prefix = index.removesuffix(".index")
    shards = sorted(glob.glob(f"{glob.escape(prefix)}.data-?????-of-?????"))
    for path in (index, *shards):
        refuse_unsafe_file(path)
    count = int(shards[0][-5:]) if shards else 1
    for number in range(count):
        shard = f"{prefix}.data-{number:05d}-of-{count:05d}"
        if shard not in shards:
            raise InputError(f"{shard}: missing; fetch it and put it next to {index}")
    with _refuse_damage(f"{index}: not a complete checkpoint index"):
        reader = tf.train.load_checkpoint(prefix)
    dtypes = reader.get_variable_to_dtype_map()
    specs = {
        name: TensorSpec(tuple(shape), dtypes[name].is_floating)
        for name, shape in reader.get_variable_to_shape_map().items()
    }
    # The index opens without its data, so a truncated shard would fail only while loading.
    floating = {name: spec.shape for name, spec in specs.items() if spec.is_floating}
    needed = sum(math.prod(shape) * dtypes[name].size for name, shape in floating.items())
    held = sum(os.path.getsize(shard) for shard in shards)
    if held < needed:
        raise InputError(
            f"{shards[-1]}: the tensors need {needed} bytes, the data holds {held}; {_FETCH_AGAIN}"
        )

    def read(name: str) -> np.ndarray:
        with _refuse_damage(f"{index}: tensor {name} cannot be read"):
            return np.asarray(reader.get_tensor(name), np.float32)

    return TensorFile(index, specs, read)
