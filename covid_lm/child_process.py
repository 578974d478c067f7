"""Processes of this package's own, which find it wherever it was loaded from."""

import os

import covid_lm


def child_environment(keras_backend: str) -> dict[str, str]:
    """This process's environment, with this package on the path and that backend for Keras."""
    package_parent = os.path.dirname(os.path.dirname(covid_lm.__file__))
    path = [package_parent, os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "KERAS_BACKEND": keras_backend,
    }
