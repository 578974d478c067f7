"""Peak memory of this process, on Linux."""

import pathlib
from collections.abc import Callable

import pytest

STATUS = pathlib.Path("/proc/self/status")


def peak_megabytes(run: Callable[[], None]) -> float:
    """Megabytes that `run` needs at most above what the process had before."""
    if not STATUS.exists():
        pytest.skip("needs /proc/self/status")
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _megabytes("VmRSS")
    run()
    return _megabytes("VmHWM") - before


def _megabytes(field: str) -> float:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024
