"""How every tool starts and ends: flags in, one clear line and an exit status out."""

import os
import runpy
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from absl import app, flags, logging

from covid_lm.errors import InputError, RunError

HELP_FLAGS = ("--help", "-help", "--helpfull", "--helpshort", "-h")


def run_tool(main: Callable[[list[str]], int | None]) -> None:
    """Parses the flags, calls `main(argv)` and exits: 0 done, 1 failed, 2 wrong flags or input.

    TensorFlow's start-up notes (instruction sets, absent GPUs) are not for the reader of a result,
    so its native log is off unless TF_CPP_MIN_LOG_LEVEL says otherwise, and its Python
    log at warnings. Keras runs on TensorFlow, whatever KERAS_BACKEND asks for: what trains on JAX
    is a process of its own.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"
    logging.set_verbosity(logging.WARNING)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(lambda argv: _guarded(main, argv), flags_parser=_parse_flags)


def console_command() -> None:
    """Runs the tool that an installed command is named after: `covid-lm-train` is train.py.

    As the main module, whose flags and docstring `--help` shows. It lies in the installed package,
    or, of a package that is used from its sources, beside it.
    """
    command = os.path.splitext(os.path.basename(sys.argv[0]))[0]
    script = f"{command.removeprefix('covid-lm-').replace('-', '_')}.py"
    package = os.path.dirname(os.path.abspath(__file__))
    folders = os.path.join(package, "tools"), os.path.join(os.path.dirname(package), "tools")
    paths = [os.path.join(folder, script) for folder in folders]
    sys.argv[0] = next(filter(os.path.exists, paths))
    runpy.run_path(sys.argv[0], run_name="__main__")


class PathParser(flags.ArgumentParser):
    """Parses a path, in which a leading `~` is the user's home directory."""

    syntactic_help = "a path"

    def parse(self, argument: str) -> str:
        return os.path.expanduser(argument)


def _parse_flags(argv: list[str]) -> list[str]:
    if any(argument in HELP_FLAGS for argument in argv[1:]):
        app.usage(writeto_stdout=True)
        sys.exit(0)
    try:
        return flags.FLAGS(argv)
    except flags.Error as error:
        _fail(" ".join(str(error).split()), InputError.exit_status)


def _guarded(main: Callable[[list[str]], int | None], argv: list[str]) -> int | None:
    try:
        return main(argv)
    except (InputError, RunError) as error:
        _fail(str(error), error.exit_status)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:
        # Who reads the output has enough of it, as `| head` has; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        # A full disk or a directory taken away is the machine's state, not a defect to trace.
        place = f"{error.filename}: " if error.filename else ""
        _fail(f"{place}{error.strerror or error}", RunError.exit_status)


def end_at_once(message: str, exit_status: int) -> NoReturn:
    """Ends the process with one line, from any thread, even while a call into TensorFlow hangs.

    Nothing is cleaned up; what must be whole is written beside and renamed.
    """
    _print_error(message)
    sys.stdout.flush()
    os._exit(exit_status)


def _fail(message: str, exit_status: int) -> NoReturn:
    _print_error(message)
    sys.exit(exit_status)


def _print_error(message: str) -> None:
    print(f"{os.path.basename(sys.argv[0])}: {message}", file=sys.stderr, flush=True)
