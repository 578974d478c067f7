"""Machine, packages and commit of a measurement; environment and start-up messages of processes."""

import contextlib
import datetime
import gc
import importlib
import logging
import os
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import cast

import covid_lm
from covid_lm.errors import RunError

PACKAGES = (
    *("covid_lm", "tensorflow", "keras", "keras-hub", "jax", "torch", "transformers"),
    *("onnxruntime", "openvino"),
)
# Native code prints these at the start of TensorFlow or LiteRT, at any log level; no user can act
# on them.
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
    r"|INFO: Created TensorFlow Lite XNNPACK delegate for CPU"
)
# Deprecations, and functions that several models of one process trace, once for each.
NOTES_FOR_DEVELOPERS = ("is deprecated and will be removed", "triggered tf.function retracing")


def machine() -> dict:
    """Processor, cores, load and package versions, which a measured figure depends on."""
    from importlib import metadata  # slow, and of no use to a tool that is called with wrong flags

    packages = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            packages[name] = metadata.version(name)
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        **({"gpus": gpus} if (gpus := _gpus()) else {}),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "packages": packages,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":", 1)[1].strip() for line in file if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """Names of NVIDIA's GPUs."""
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        return subprocess.check_output(
            query, stderr=subprocess.DEVNULL, text=True, timeout=60
        ).splitlines()
    except (OSError, subprocess.SubprocessError):
        return []


def origin(command: str) -> dict:
    """The command, commit, date and `machine` that figures come from."""
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    return {"command": command, "commit": commit(), "date": date, "machine": machine()}


def machine_line(found: dict) -> str:
    """GPUs, cores and processor of a `machine` as text."""
    cores = f"{found['cores']} cores of {found['processor']}"
    return f"{', '.join(found['gpus'])} with {cores}" if "gpus" in found else cores


def commit() -> str:
    """The commit of the checkout that holds this package, as `git rev-parse HEAD` prints it.

    Returns:
        The full hash, with "-dirty" if tracked files were changed; "unknown" outside a checkout,
        where git is missing, or where it refuses the checkout of another user.
    """
    git = ["git", "-C", os.path.dirname(os.path.abspath(covid_lm.__file__))]
    in_checkout = [*git, "ls-files", "--error-unmatch", "__init__.py"]  # fails if it is ignored
    describe = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        subprocess.run(in_checkout, capture_output=True, check=True, timeout=60)
        return subprocess.check_output(
            describe, stderr=subprocess.DEVNULL, text=True, timeout=60
        ).strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def child_environment(keras_backend: str) -> dict[str, str]:
    """This process's environment, with this package on the path and that backend for Keras."""
    package_parent = os.path.dirname(os.path.dirname(covid_lm.__file__))
    path = os.pathsep.join(filter(None, [package_parent, os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "KERAS_BACKEND": keras_backend}


def run_child(
    title: str,
    module: str,
    *arguments: str,
    threads: int = 0,
    on_gpu: bool = False,
    keras_backend: str = "tensorflow",
) -> str:
    """Run a module in a child process and return the last line of its output.

    On the CPU, unless `on_gpu`. `threads` limits the libraries that read theirs from the
    environment, unless it is 0.

    Raises:
        RunError: it failed; with `title` and the last line of its error output.
    """
    environment = child_environment(keras_backend)
    if not on_gpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""
    if threads:
        environment |= {"OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads)}
    # On any exception, an interrupt too, `run` kills the process and waits for its end.
    process = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if process.returncode:
        lines = without_startup_lines(process.stderr).strip().splitlines()
        reason = lines[-1] if lines else f"exit status {process.returncode}"
        raise RunError(f"{title} failed: {reason}")
    return (process.stdout.splitlines() or [""])[-1]


def import_tensorflow(with_keras: bool = True) -> None:
    """Imports TensorFlow without the known messages that it prints at its start.

    Native code writes these to file descriptor 2. All other lines are shown, and all lines if the
    import fails or if TF_CPP_MIN_LOG_LEVEL is 0. NOTES_FOR_DEVELOPERS are left out of TensorFlow's
    Python log, too.

    Args:
        with_keras: False for a process that only runs exports, which need no Keras. It can still
            be imported later.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") != "0":
        logging.getLogger("tensorflow").addFilter(
            lambda record: not any(note in record.getMessage() for note in NOTES_FOR_DEVELOPERS)
        )
    with startup_lines_held(), _quick_imports(() if with_keras else ("keras",)):
        importlib.import_module("tensorflow")


@contextlib.contextmanager
def startup_lines_held() -> Iterator[None]:
    """Holds what native code writes to file descriptor 2 within the block.

    At its end, all lines but STARTUP_LINES are shown, and all lines if it failed.
    """
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


@contextlib.contextmanager
def _quick_imports(absent: tuple[str, ...]) -> Iterator[None]:
    """Imports within the block collect no garbage, and find no modules of the names `absent`.

    TensorFlow imports Keras at its start, with scikit-learn, pandas and matplotlib, and does
    without if it isn't installed. Collections would visit the imported modules' objects, which are
    never garbage, again and again.
    """
    hidden = [name for name in absent if name not in sys.modules]
    collects = gc.isenabled()
    gc.disable()
    # None is an absent module, which the type of the dict doesn't know.
    cast(dict, sys.modules).update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        gc.freeze()
        if collects:
            gc.enable()


def without_startup_lines(messages: str) -> str:
    """The messages of a process, without those that TensorFlow prints at every start."""
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        return messages
    lines = messages.splitlines(keepends=True)
    return "".join(line for line in lines if not STARTUP_LINES.match(line))
