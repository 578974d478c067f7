"""Names of runs, which become folders."""

import re

from covid_lm.errors import InputError


def check_run_name(name: str) -> None:
    """Raises InputError for a `--name` that could lead out of its folder, or that is hidden."""
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise InputError(f"--name={name}: letters, digits and _.+- only, please")
