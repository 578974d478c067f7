"""From `--model=saved_models/NAME[/VERSION]` to the directories it means. Free of TensorFlow."""

import os

from covid_lm.errors import InputError
from covid_lm.file_system import exists, is_directory
from covid_lm.serving.publish import versions


def resolve_model(model: str, flag: str = "model") -> tuple[str, str]:
    """The model's directory and that of the version asked for, or of its newest.

    Args:
        flag: named in the error.

    Raises:
        InputError: no such model or version.
    """
    model = model.rstrip("/")
    if exists(os.path.join(model, "saved_model.pb")):
        return os.path.dirname(model), model
    if not is_directory(model):
        raise InputError(f"--{flag}={model}: no such directory; give saved_models/NAME[/VERSION]")
    published = versions(model)
    if not published:
        raise InputError(f"--{flag}={model}: no exported version in it; run tools/export.py")
    return model, os.path.join(model, str(published[-1]))
