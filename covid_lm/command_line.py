"""Common parts of all tools: flags, their checks, one-line errors and exit statuses.

A tool is a module in tools/ with `main(argv)`, and with `options()` if its flags must go together
in some way: that checks them, and may return what they give, without a look at files, so that
`check_arguments` can validate a command without running it.
"""

import functools
import importlib.util
import os
import runpy
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Literal, NoReturn

from absl import app, flags, logging

from covid_lm.errors import InputError, RunError
from covid_lm.files import is_remote

flags.disclaim_key_flags()  # --help of a tool lists the flags that are defined here as its own

HELP_FLAGS = ("--help", "-help", "--helpfull", "--helpshort", "-h")
COMMAND_PREFIX = "covid-lm-"
PathKind = Literal["input", "input folder", "output file", "output folder"]
_console_command = False


class PathParser(flags.ArgumentParser):
    """Parses a path, in which a leading `~` is the user's home directory.

    Attributes:
        kind: what must exist when the tool starts: an input, or the folder of an output file, or
            a writable folder in which an output folder can be created.
    """

    syntactic_help = "a path"

    def __init__(self, kind: PathKind = "input"):
        super().__init__()
        self.kind = kind

    def parse(self, argument: str) -> str:
        """The path with `~` expanded."""
        return os.path.expanduser(argument)

    def check(self, flag: str, path: str) -> None:
        """Checks a path of this machine; remote ones (`gs://`) are checked when they are used.

        Raises:
            InputError: no such input, or an output that can't be written.
        """
        if is_remote(path):
            return
        if self.kind == "input folder" and not os.path.isdir(path):
            raise InputError(f"--{flag}={path}: no such directory")
        if self.kind == "input" and not os.path.exists(path):
            raise InputError(f"--{flag}={path}: no such file or directory")
        if self.kind.startswith("output"):
            check_output(flag, path, self.kind == "output folder")


def check_output(flag: str, path: str | None, is_folder: bool = False) -> None:
    """Raises InputError unless a file, or a folder and those above it, can be written.

    None and paths of a store (`gs://`) are not checked.
    """
    if path is None or is_remote(path):
        return
    folder = os.path.abspath(path if is_folder else os.path.dirname(path) or ".")
    while is_folder and not os.path.exists(folder):
        folder = os.path.dirname(folder)
    if not is_folder and os.path.isdir(path):
        raise InputError(f"--{flag}={path}: is a folder; give the name of a file")
    if not os.path.exists(folder):
        raise InputError(f"--{flag}={path}: its folder does not exist")
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"--{flag}={path}: {folder} is no folder that can be written")


def define_path(
    name: str,
    help_text: str,
    kind: PathKind = "input",
    default: str | None = None,
    repeatable: bool = False,
) -> None:
    """Defines a flag for a path, or for a list of paths, which `run_tool` checks."""
    parser = PathParser(kind)
    serializer: flags.ArgumentSerializer = flags.ArgumentSerializer()
    if repeatable:
        flags.DEFINE_multi(parser, serializer, name, [], help_text)
    else:
        flags.DEFINE(parser, name, default, help_text, serializer=serializer)


def run_tool(
    main: Callable[[list[str]], int | None],
    options: Callable[[], object] = bool,
    takes_words: bool = False,
) -> None:
    """Parses the flags, calls `main(argv)` and exits: 0 done, 1 failed, 2 wrong flags or input.

    TensorFlow's native log is off unless --verbose or TF_CPP_MIN_LOG_LEVEL turn it on, and its
    Python log is at warnings. Keras runs on TensorFlow, whatever KERAS_BACKEND is: what trains on
    JAX is a process of its own.

    Args:
        main: does the work, once flags, options and the paths of all path flags are checked.
        options: checks that the flags go together.
        takes_words: True for a tool with arguments that aren't flags.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    _define_verbose(flags.FLAGS)

    def guarded(argv: list[str]) -> int | None:
        if flags.FLAGS["verbose"].value:
            os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"
        else:
            logging.set_verbosity(logging.WARNING)
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        return _guarded(main, argv)

    app.run(guarded, flags_parser=lambda argv: _parse_flags(argv, options, takes_words))


def check_arguments(
    script: str, arguments: Sequence[str], keras_backend: str = "tensorflow"
) -> None:
    """Parses a tool's arguments and validates its options, in this process; nothing is run.

    Files and folders need not exist.

    Args:
        script: path of the tool, such as `tools/train.py`.
        keras_backend: KERAS_BACKEND of the command.

    Raises:
        InputError: the tool would refuse them.
    """
    tool, values = _load_tool(os.path.abspath(script))
    for name in values:
        values[name].unparse()
    tool.__dict__["BACKEND"] = keras_backend
    _parse(values, [script, *arguments], getattr(tool, "TAKES_WORDS", False))
    if hasattr(tool, "options"):
        tool.options()


@functools.cache
def _load_tool(script: str) -> tuple[ModuleType, flags.FlagValues]:
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
    _define_verbose(values)
    tool.__dict__["FLAGS"] = values
    return tool, values


def _define_verbose(values: flags.FlagValues) -> None:
    flags.DEFINE_bool("verbose", False, "Show all messages of TensorFlow.", flag_values=values)


def console_command() -> None:
    """Runs the tool that an installed command is named after: `covid-lm-train` is train.py.

    The tool runs as the main module, whose flags and docstring `--help` shows. It is in the
    installed package or, if the package is used from its sources, next to it.
    """
    global _console_command
    _console_command = True
    command = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    script = f"{command.removeprefix(COMMAND_PREFIX).replace('-', '_')}.py"
    package = os.path.dirname(os.path.abspath(__file__))
    folders = os.path.join(package, "tools"), os.path.join(os.path.dirname(package), "tools")
    paths = [os.path.join(folder, script) for folder in folders]
    sys.argv[0] = next(filter(os.path.exists, paths))
    runpy.run_path(sys.argv[0], run_name="__main__")


def tool_command(tool: str, *words: str) -> str:
    """The command that runs another tool in the way in which this one was run, shell-quoted.

    Args:
        tool: module name, such as "cross_validate".
    """
    if _console_command:
        return shlex.join([f"{COMMAND_PREFIX}{tool.replace('_', '-')}", *words])
    return shlex.join(["python", os.path.join(os.path.dirname(sys.argv[0]), f"{tool}.py"), *words])


def _parse_flags(argv: list[str], options: Callable[[], object], takes_words: bool) -> list[str]:
    if any(argument in HELP_FLAGS for argument in argv[1:]):
        app.usage(writeto_stdout=True)
        sys.exit(0)
    try:
        words = _parse(flags.FLAGS, argv, takes_words)
        options()
        for name in flags.FLAGS:
            parser, value = flags.FLAGS[name].parser, flags.FLAGS[name].value
            for path in value if isinstance(value, list) else [value]:
                if isinstance(parser, PathParser) and path is not None:
                    parser.check(name, path)
    except InputError as error:
        _fail(str(error), error.exit_status)
    return words


def _parse(values: flags.FlagValues, argv: list[str], takes_words: bool) -> list[str]:
    try:
        words = values(argv)
    except flags.Error as error:
        raise InputError(" ".join(str(error).split())) from None
    if len(words) > 1 and not takes_words:
        raise InputError(f"{words[1]}: takes flags only; --help lists them")
    return words


def _guarded(main: Callable[[list[str]], int | None], argv: list[str]) -> int | None:
    try:
        return main(argv)
    except (InputError, RunError) as error:
        _fail(str(error), error.exit_status)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader of the output has closed it, as `| head` does: no error to report.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        # A full disk or a removed directory is a state of the machine: no traceback.
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}", RunError.exit_status)


def end_at_once(message: str, exit_status: int) -> NoReturn:
    """Ends the process with one line, from any thread, even while a call into TensorFlow hangs.

    Nothing is cleaned up; files that must be complete are written under another name and renamed.
    """
    _print_error(message)
    sys.stdout.flush()
    os._exit(exit_status)


def _fail(message: str, exit_status: int) -> NoReturn:
    _print_error(message)
    sys.exit(exit_status)


def _print_error(message: str) -> None:
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr, flush=True)
