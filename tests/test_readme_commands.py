"""Every command of a tool in the README is one that the tool takes.

`.ci/run` runs the `bash` blocks as they stand. The others name data, servers or machines that are
not here: of those the flags are checked by the tool itself.
"""

import re
import shlex
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOOL = re.compile(r"(?:^|\s)(?:\S*/)?python (tools/\w+\.py.*)$")


def commands() -> list[str]:
    """The tools' commands of all blocks but the `bash` ones, one line each."""
    found = []
    for language, text in BLOCK.findall(README):
        if language == "bash":
            continue
        for line in text.replace("\\\n", " ").splitlines():
            inner = re.sub(r".* bash -c '(.*)'$", r"\1", line.split("  #")[0].strip())
            match = TOOL.search(inner)
            if match:
                found.append(" ".join(match[1].split()))
    return sorted(set(found))


def test_the_readme_holds_commands_of_every_tool():
    assert len(commands()) > 20
    named = set(re.findall(r"tools/(\w+)\.py", README))
    named.discard("average")  # of records of runs that this version can't repeat
    assert named == {path.stem for path in (REPOSITORY / "tools").glob("*.py")}


@pytest.mark.parametrize("command", commands())
def test_its_tool_takes_it(command):
    script, *arguments = shlex.split(command)
    numbered = [argument.replace("$SLURM_PROCID", "0") for argument in arguments]
    process = subprocess.run(
        [sys.executable, REPOSITORY / script, *numbered, "--only_check_args"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, "")
