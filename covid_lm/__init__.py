"""covid_lm: an image classifier that reads an image's bytes as a sentence.

Importing the package is cheap: `load_dataset`, `audit`, `train`, `evaluate` and `Predictor` are
imported when they are used first, TensorFlow when one of them needs it.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
_API = ("Predictor", "audit", "evaluate", "load_dataset", "train")
__all__ = [*_API, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _API:
        return getattr(importlib.import_module("covid_lm.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_API})
