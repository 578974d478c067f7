"""The installed console commands, and the files of the source distribution."""

import configparser
import os
import shutil
import subprocess
import sys
import tarfile

import pytest

from tests.conftest import REPOSITORY

TOOLS = sorted(path.stem for path in (REPOSITORY / "tools").glob("*.py"))
COMMANDS = [f"covid-lm-{tool.replace('_', '-')}" for tool in TOOLS]


def test_every_tool_has_a_console_command():
    config = configparser.ConfigParser()
    config.read(REPOSITORY / "setup.cfg", encoding="utf-8")
    lines = config["options.entry_points"]["console_scripts"].split("\n")
    scripts = dict(line.split(" = ") for line in lines if line)
    assert sorted(scripts) == sorted(COMMANDS)
    assert set(scripts.values()) == {"covid_lm.command_line:console_command"}


@pytest.mark.parametrize("command", ["covid-lm-train", "covid-lm-cross-validate"])
def test_a_console_command_is_its_tool(command):
    script = (
        f"import sys; sys.argv = ['/bin/{command}', '--help']\n"
        "from covid_lm.command_line import console_command\n"
        "console_command()\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    tool = command.removeprefix("covid-lm-").replace("-", "_")
    straight = subprocess.run(
        [sys.executable, REPOSITORY / "tools" / f"{tool}.py", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.splitlines()[0] == straight.stdout.splitlines()[0]
    assert process.stdout.count("\n  --") == straight.stdout.count("\n  --") > 10


def test_the_sdist_holds_what_builds_the_package_and_nothing_else(tmp_path):
    source = tmp_path / "source"
    left_out = shutil.ignore_patterns(".*", "saved_models", "__pycache__", "*.egg-info", "build")
    shutil.copytree(REPOSITORY, source, ignore=left_out)
    command = [sys.executable, "setup.py", "-q", "sdist", "-d", str(tmp_path / "dist")]
    process = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    (name,) = os.listdir(tmp_path / "dist")
    with tarfile.open(tmp_path / "dist" / name) as archive:
        files = [member.name.split("/", 1)[1] for member in archive if member.isfile()]
    patterns = ("**/*.py", "auditing/*.json", "templates/*", "shipped_weights/*/*")
    sources = [path for name in patterns for path in REPOSITORY.glob(f"covid_lm/{name}")]
    modules = {str(path.relative_to(REPOSITORY)) for path in sources}
    tools = {f"tools/{tool}.py" for tool in TOOLS}
    metadata = {"PKG-INFO", "setup.cfg", "setup.py", "README.md", "LICENSE"}
    expected = modules | tools | metadata
    assert {file for file in files if "egg-info" not in file} == expected
