"""Common parts of all tools: path flags, checks, one-line errors and exit statuses.

A tool is a module in tools/ with `main(argv)`, and with `options()` if its flags must go together
in some way: that checks them without reading files, and may return what they give.
"""

import contextlib
import io
import os
import runpy
import shlex
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from typing import Literal, NoReturn, TextIO

from absl import app, flags, logging

from covid_lm.errors import InputError, RunError, one_line, visible
from covid_lm.files import is_remote

flags.disclaim_key_flags()  # --help of a tool lists the flags that are defined here as its own

HELP_FLAGS = ("--help", "-help", "--helpfull", "--helpshort", "-h")
COMMAND_PREFIX = "covid-lm-"
PathKind = Literal["input", "input folder", "output file", "output folder", "local folder"]
_console_command = False


class PathParser(flags.ArgumentParser):
    """Parses a path, in which a leading `~` is the user's home directory.

    Attributes:
        kind: what must exist when the tool starts: an input, or the folder of an output file, or
            a writable folder in which an output folder, or one on this machine, can be created.
        names: values that are not paths, but names of inputs that come with a package.
        prefix: start of other names, of inputs that are downloaded; "" for none.
    """

    syntactic_help = "a path"

    def __init__(self, kind: PathKind = "input", names: Collection[str] = (), prefix: str = ""):
        super().__init__()
        self.kind = kind
        self.names = names
        self.prefix = prefix

    def is_name(self, value: object) -> bool:
        """True for a value that is not a path."""
        is_download = self.prefix != "" and str(value).startswith(self.prefix)
        return value in self.names or is_download

    def parse(self, argument: str) -> str:
        """The path with `~` expanded."""
        return os.path.expanduser(argument)

    def check(self, flag: str, path: str) -> None:
        """Raises InputError for an absent input, or an output that can't be written.

        Runs, exports and outputs need paths in UTF-8, since TensorFlow opens no others.
        """
        if self.kind != "input" and any("\ud800" <= character <= "\udfff" for character in path):
            raise InputError(f"--{flag}={path}: not UTF-8; give another path")
        if self.kind == "local folder" and is_remote(path):
            raise InputError(f"--{flag}={path}: must be on this machine")
        if not self.kind.startswith("input"):
            check_output(flag, path, self.kind != "output file")
        elif self.is_name(path) or is_remote(path):
            return  # checked when it is used
        elif self.kind == "input folder" and not os.path.isdir(path):
            raise InputError(f"--{flag}={path}: no such directory")
        elif not os.path.exists(path):
            raise InputError(f"--{flag}={path}: no such file or directory")


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
    name: str, help_text: str, kind: PathKind = "input", default: str | None = None
) -> None:
    """Defines a flag for a path, which `run_tool` checks."""
    flags.DEFINE(PathParser(kind), name, default, help_text)


def run_tool(
    main: Callable[[list[str]], int | None],
    options: Callable[[], object] = bool,
    takes_words: bool = False,
    keras_backend: str = "tensorflow",
) -> None:
    """Parses the flags, calls `main(argv)` and exits: 0 done, 1 failed, 2 wrong flags or input.

    TensorFlow's native log is off unless --verbose or TF_CPP_MIN_LOG_LEVEL turn it on, and its
    Python log is at warnings.

    Args:
        main: does the work, once flags, options and the paths of all path flags are checked.
        options: checks that the flags go together.
        takes_words: True for a tool with arguments that aren't flags.
        keras_backend: of this process, whatever KERAS_BACKEND is.
    """
    os.environ["KERAS_BACKEND"] = keras_backend

    def checked(argv: list[str]) -> list[str]:
        if any(argument in HELP_FLAGS for argument in argv[1:]):
            app.usage(writeto_stdout=True)
            sys.exit(0)
        with _one_line_errors():
            words = parse_flags(flags.FLAGS, argv, takes_words)
            options()
            for name in flags.FLAGS:
                parser, value = flags.FLAGS[name].parser, flags.FLAGS[name].value
                for path in value if isinstance(value, list) else [value]:
                    if isinstance(parser, PathParser) and path is not None:
                        parser.check(name, path)
            return words

    def run(argv: list[str]) -> int | None:
        if flags.FLAGS["verbose"].value:
            os.environ["TF_CPP_MIN_LOG_LEVEL"] = "0"
        else:
            logging.set_verbosity(logging.WARNING)
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        with _one_line_errors():
            return main(argv)

    define_verbose(flags.FLAGS)
    sys.stdout, sys.stderr = map(VisibleOutput, (sys.stdout, sys.stderr))
    app.run(run, flags_parser=checked)


class VisibleOutput(io.TextIOWrapper):
    """Standard output or error on which nothing can steer a terminal, in any encoding.

    Names and messages from outside can hold control characters, and characters that the locale's
    encoding lacks. All of them are written as escapes, except the ends of lines and, for progress
    bars on standard error, carriage returns.
    """

    def __init__(self, stream: TextIO):
        super().__init__(
            stream.buffer,
            stream.encoding,
            errors="backslashreplace",
            line_buffering=stream.isatty(),
            write_through=stream is sys.stderr,
        )
        self._stream = stream  # which closes the buffer when it is deleted
        self._kept = "\n\t\r" if stream is sys.stderr else "\n\t"

    def write(self, text: str) -> int:
        """Writes the visible text; returns the number of its characters."""
        return super().write(visible(text, self._kept))


def define_verbose(values: flags.FlagValues) -> None:
    """Defines the flag --verbose, which every tool has."""
    flags.DEFINE_bool("verbose", False, "Show all messages of TensorFlow.", flag_values=values)


def parse_flags(values: flags.FlagValues, argv: list[str], takes_words: bool) -> list[str]:
    """Parses a command line; returns the tool's name and the arguments that aren't flags.

    Raises:
        InputError: unknown flags, wrong values, or words where a tool takes none.
    """
    try:
        words = values(argv)
    except flags.Error as error:
        raise InputError(" ".join(str(error).split())) from None
    if len(words) > 1 and not takes_words:
        raise InputError(f"{words[1]}: takes flags only; --help lists them")
    return words


@contextlib.contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except (InputError, RunError) as error:
        _fail(str(error), error.exit_status)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader of the output has closed it, as `| head` does: no error to report.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except UnicodeEncodeError as error:
        # A path that the operating system accepts, but TensorFlow or the format of a file doesn't.
        _fail(f"{one_line(str(error.object))}: not UTF-8; rename it", InputError.exit_status)
    except OSError as error:
        # A full disk or a removed directory is a state of the machine: no traceback.
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}", RunError.exit_status)


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
    paths = [
        os.path.join(parent, "tools", script) for parent in (package, os.path.dirname(package))
    ]
    sys.argv[0] = next(filter(os.path.exists, paths))
    runpy.run_path(sys.argv[0], run_name="__main__")


def print_written(*paths: str | None) -> None:
    """Prints the files that a tool has written; None for one that wasn't requested."""
    for path in filter(None, paths):
        print(f"written: {path}")


def tool_command(tool: str, *words: str, **values: object) -> str:
    """The command that runs another tool in the way in which this one was run, shell-quoted.

    Args:
        tool: module name, such as "cross_validate".
        words: arguments that aren't flags.
        values: flags; those that are None are left out.
    """
    words = (*(f"--{name}={v}" for name, v in values.items() if v is not None), *words)
    if _console_command:
        return shlex.join([f"{COMMAND_PREFIX}{tool.replace('_', '-')}", *words])
    return shlex.join(["python", os.path.join(os.path.dirname(sys.argv[0]), f"{tool}.py"), *words])


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
    print(f"{os.path.basename(sys.argv[0])}: {visible(message)}", file=sys.stderr, flush=True)
