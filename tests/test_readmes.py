"""The READMEs: their commands, their links and their length.

`.ci/run` runs the `bash` blocks of all of them. Commands in other blocks name data, servers or
machines that are not at hand; their flags are checked by the tool itself.
"""

import importlib.util
import re
import shlex

import pytest

from tests.conftest import REPOSITORY
from tests.tool_arguments import check_arguments

READMES = sorted(
    path
    for pattern in ("*.md", "covid_lm/**/*.md", "tools/*.md", "saved_models/records/*.md")
    for path in REPOSITORY.glob(pattern)
    if "templates" not in path.parts
)
TEXTS = {str(path.relative_to(REPOSITORY)): path.read_text(encoding="utf-8") for path in READMES}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TOOL = re.compile(r"(?:^|\s)(?:KERAS_BACKEND=(\w+) )?(?:\S*/)?python (tools/\w+\.py.*)$")
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)\s]+)\)")


def commands(text: str) -> list[tuple[str, str]]:
    """Keras backend and command in all blocks of a README that `.ci/run` doesn't run."""
    found = []
    for language, block in BLOCK.findall(text):
        if language == "bash":
            continue
        for line in block.replace("\\\n", " ").splitlines():
            inner = re.sub(r".* bash -c '(.*)'$", r"\1", line.split("  #")[0].strip())
            match = TOOL.search(inner)
            if match:
                found.append((match[1] or "tensorflow", " ".join(match[2].split())))
    return found


def anchors(text: str) -> set[str]:
    """The anchors of a README's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", BLOCK.sub("", text), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings
    }


def test_commands_are_found_and_cover_every_tool():
    assert len({command for text in TEXTS.values() for command in commands(text)}) > 20
    named = set(re.findall(r"python tools/(\w+)\.py", "".join(TEXTS.values())))
    tools = {path.stem for path in (REPOSITORY / "tools").glob("*.py")}
    assert tools <= named
    assert named - tools <= {"average"}  # in records of a tool that older versions had


@pytest.mark.parametrize("name", TEXTS)
def test_tools_take_the_commands(name, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)  # as if jax were installed
    for backend, command in commands(TEXTS[name]):
        script, *arguments = shlex.split(command.replace("$SLURM_PROCID", "0"))
        check_arguments(str(REPOSITORY / script), arguments, backend)


@pytest.mark.parametrize("name", TEXTS)
def test_links_resolve(name):
    folder = (REPOSITORY / name).parent
    for target in LINK.findall(BLOCK.sub("", TEXTS[name])):
        path, _, anchor = target.partition("#")
        linked = (folder / path).resolve() if path else REPOSITORY / name
        assert linked.exists(), f"{name}: {target}"
        if anchor:
            assert anchor in anchors(linked.read_text(encoding="utf-8")), f"{name}: {target}"


def test_the_first_page_is_short_and_names_every_child():
    text = TEXTS["README.md"]
    assert len(text.splitlines()) <= 250
    linked = set(LINK.findall(text))
    assert {name for name in TEXTS if name != "README.md"} <= linked


def test_ci_runs_the_blocks_of_every_readme():
    script = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    assert "git ls-files '*README.md'" in script
