"""Machine, packages and commit of a measurement; environment and start-up messages of processes."""

import contextlib
import importlib
import importlib.metadata
import logging
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import covid_lm

PACKAGES = ("covid_lm", "tensorflow", "keras", "keras-hub", "torch", "transformers")
# Native code prints these while TensorFlow is imported, at any log level; no user can act on them.
STARTUP_LINES = re.compile(
    r"WARNING: All log messages before absl::InitializeLog\(\) is called"
    r"|.*oneDNN custom operations are on"
    r"|.*This TensorFlow binary is optimized to use available CPU instructions"
    r"|To enable the following instructions: "
    r"|.*Could not find cuda drivers on your machine"
    r"|.*Could not load dynamic library 'libcudart"
    r"|.*Ignore above cudart dlerror"
    r"|.*Unable to register cu(FFT|DNN|BLAS) factory"
    r"|.*computation placer already registered"
    r"|.*TF-TRT Warning: Could not find TensorRT"
)


def machine() -> dict:
    """Processor, cores, load and package versions, which a measured figure depends on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES if _version(name)},
    }


def machine_line(found: dict) -> str:
    """Cores and processor of a `machine` as text."""
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


def import_tensorflow() -> None:
    """Imports TensorFlow and Keras without the known messages that they print at their start.

    Native code writes these to file descriptor 2. All other lines are shown, and all lines if an
    import fails or if TF_CPP_MIN_LOG_LEVEL is 0. Deprecation notes, which are for developers, are
    left out of TensorFlow's Python log, too.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "0":
        logging.getLogger("tensorflow").addFilter(
            lambda record: "is deprecated and will be removed" not in record.getMessage()
        )
    with _held_messages():
        importlib.import_module("tensorflow")
        importlib.import_module("keras")


def without_startup_lines(messages: str) -> str:
    """The messages of a process, without those that TensorFlow prints at every start."""
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        return messages
    lines = messages.splitlines(keepends=True)
    return "".join(line for line in lines if not STARTUP_LINES.match(line))


@contextlib.contextmanager
def _held_messages() -> Iterator[None]:
    sys.stderr.flush()
    real = os.dup(2)
    with tempfile.TemporaryFile("w+", errors="replace") as held:
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stderr.flush()
            os.dup2(real, 2)
            os.close(real)
            held.seek(0)
            messages = held.read()
            sys.stderr.write(messages if failed else without_startup_lines(messages))
            sys.stderr.flush()
