"""The check of a tool's arguments in this process, without running it."""

import functools
import importlib.util
import os
from collections.abc import Sequence
from types import ModuleType

from absl import flags

from covid_lm.command_line import define_verbose, parse_flags


def check_arguments(
    script: str, arguments: Sequence[str], keras_backend: str = "tensorflow"
) -> None:
    """Parses a tool's arguments and validates its options; files and folders need not exist.

    Args:
        script: path of the tool, such as `tools/train.py`.
        keras_backend: KERAS_BACKEND of the command.

    Raises:
        InputError: the tool would refuse them.
    """
    tool, values = load_tool(os.path.abspath(script))
    for name in values:
        values[name].unparse()
    tool.__dict__["BACKEND"] = keras_backend
    parse_flags(values, [script, *arguments], getattr(tool, "TAKES_WORDS", False))
    if hasattr(tool, "options"):
        tool.options()


@functools.cache
def load_tool(script: str) -> tuple[ModuleType, flags.FlagValues]:
    """A tool as a module, with flags of its own in place of absl's global ones."""
    before = set(flags.FLAGS)
    name = f"covid_lm_tool_{os.path.basename(script).removesuffix('.py')}"
    spec = importlib.util.spec_from_file_location(name, script)
    assert spec is not None
    assert spec.loader is not None
    tool = importlib.util.module_from_spec(spec)
    values = flags.FlagValues()
    try:
        spec.loader.exec_module(tool)
    finally:
        for flag in set(flags.FLAGS) - before:
            values[flag] = flags.FLAGS[flag]
            delattr(flags.FLAGS, flag)
    define_verbose(values)
    tool.__dict__["FLAGS"] = values
    return tool, values
