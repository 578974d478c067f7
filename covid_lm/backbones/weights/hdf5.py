"""Checks of HDF5 files from others, before h5py or Keras reads their values.

HDF5 can take values from other files (external storage, external links, virtual datasets), so that
a weight file could read any file of this machine into weights that are then exported.
"""

import math

import h5py
import keras
import numpy as np

from covid_lm.errors import UnusableFile, reason
from covid_lm.files import WEIGHT_BYTES, check_file

MAX_DEPTH, MAX_OBJECTS = 32, 100_000
# Most bytes of a dataset for each byte stored, and of a chunk, which is read as a whole.
MAX_RATIO, RATIO_FROM, CHUNK_BYTES = 100, 2**20, 2**24
_OWN_VALUES = "only values in the file itself are read"


def check_hdf5(path: str) -> None:
    """Checks that every object in the file can be read from this file alone, in bounded memory.

    Raises:
        UnusableFile: not an HDF5 file or a damaged one; a link other than a hard one, external
            storage, a virtual dataset; groups that are nested too deeply or contain themselves;
            a dataset that unpacks to far more bytes than it stores.
    """
    check_file(path, WEIGHT_BYTES)
    try:
        with h5py.File(path, "r") as file:
            _check_groups(file, path)
    except UnusableFile:
        raise
    except Exception:  # h5py raises many types on damage
        problem = "not a complete HDF5 file; it is truncated or damaged: fetch it again"
        raise UnusableFile(path, problem) from None


def _check_groups(file: h5py.File, path: str) -> None:
    pending, groups, count = [(file["/"], 0)], set(), 0
    while pending:
        group, depth = pending.pop()
        address = h5py.h5o.get_info(group.id).addr
        if address in groups or depth > MAX_DEPTH:
            raise UnusableFile(
                path, f"holds {group.name!r}, a group within itself or below {MAX_DEPTH} others"
            )
        groups.add(address)
        for key in group:
            name, count = f"{group.name.rstrip('/')}/{key}", count + 1
            if count > MAX_OBJECTS:
                raise UnusableFile(path, f"holds more than {MAX_OBJECTS} objects")
            link = group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                kind = "external" if isinstance(link, h5py.ExternalLink) else "soft"
                raise UnusableFile(path, f"holds {name!r}, a link ({kind}); {_OWN_VALUES}")
            item = group[key]
            if isinstance(item, h5py.Group):
                pending.append((item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                _check_dataset(item, name, path)


def _check_dataset(dataset: h5py.Dataset, name: str, path: str) -> None:
    creation = dataset.id.get_create_plist()
    if creation.get_layout() == h5py.h5d.VIRTUAL or creation.get_external_count():
        raise UnusableFile(path, f"holds {name!r}, whose values are in other files; {_OWN_VALUES}")
    if dataset.dtype.hasobject:
        raise UnusableFile(path, f"holds {name!r}, no numbers but {dataset.dtype}")
    chunk = math.prod(dataset.chunks or ()) * dataset.dtype.itemsize
    stored = dataset.id.get_storage_size()
    if dataset.nbytes > max(RATIO_FROM, MAX_RATIO * stored) or chunk > CHUNK_BYTES + dataset.nbytes:
        raise UnusableFile(
            path, f"holds {name!r}, which unpacks {stored} bytes to {max(dataset.nbytes, chunk)}"
        )


def load_hdf5_weights(model: keras.Model, path: str) -> None:
    """Loads a file that Keras has written, `.weights.h5` or an older `.h5`, into the model.

    Raises:
        UnusableFile: as `check_hdf5`, another model's file, or a weight that is not finite.
    """
    check_hdf5(path)
    try:
        model.load_weights(path)
    except Exception as error:  # Keras raises many types on damage
        raise UnusableFile(path, f"can't be loaded ({reason(error)})") from None
    for variable in model.variables:
        if not np.isfinite(keras.ops.convert_to_numpy(variable)).all():
            raise UnusableFile(path, f"tensor {variable.path} holds NaN or infinite values")
