"""The machine and the packages that a figure depends on."""

import importlib.metadata
import os
import platform
import subprocess

import covid_lm

PACKAGES = ("covid_lm", "tensorflow", "keras", "keras-hub", "torch", "transformers")


def machine() -> dict:
    """Processor, cores, load and package versions: what a figure depends on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES if _version(name)},
    }


def machine_line(found: dict) -> str:
    """What `machine` found, in words: cores and processor."""
    return f"{found['cores']} cores of {found['processor']}"


def commit() -> str:
    """The commit of the checkout that holds this package, as `git rev-parse HEAD` prints it.

    Returns:
        The full hash, with "-dirty" if tracked files were changed; "unknown" outside a checkout,
        where git is missing, or where it refuses the checkout of another user.
    """
    package = os.path.dirname(os.path.abspath(covid_lm.__file__))
    answers = []
    for arguments in (
        ("ls-files", "--error-unmatch", "__init__.py"),  # not a checkout that ignores the package
        ("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"),
    ):
        command = ["git", "-C", package, *arguments]
        try:
            result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        except (OSError, subprocess.SubprocessError):
            return "unknown"
        answers.append(result.stdout.strip())
    return answers[-1]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if "model name" in line]
        return names[0]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def child_environment(keras_backend: str) -> dict[str, str]:
    """This process's environment, with this package on the path and that backend for Keras."""
    package_parent = os.path.dirname(os.path.dirname(covid_lm.__file__))
    path = [package_parent, os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "KERAS_BACKEND": keras_backend,
    }
