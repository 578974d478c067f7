"""The commit that a record names, in checkouts made for the purpose."""

import pathlib
import subprocess

import pytest

from covid_lm import environment


def git(directory: pathlib.Path, *arguments: str) -> str:
    identity = ("-c", "user.name=n", "-c", "user.email=n@example.org")
    command = ["git", "-C", str(directory), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A checkout with one commit that holds a package, taken for this one."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "package/__init__.py")
    git(tmp_path, "commit", "-q", "-m", "package")
    monkeypatch.setattr(environment.covid_lm, "__file__", str(package / "__init__.py"))
    return package


def test_the_commit_of_a_clean_checkout(package):
    (package / "untracked.json").write_text("{}")
    git(package, "tag", "v1")
    assert environment.commit() == git(package, "rev-parse", "HEAD")


def test_a_changed_file_is_marked(package):
    (package / "__init__.py").write_text("changed = True\n")
    assert environment.commit() == f"{git(package, 'rev-parse', 'HEAD')}-dirty"


def test_no_checkout_of_this_package(package, monkeypatch):
    installed = package.parent / "site-packages"
    installed.mkdir()
    (installed / "__init__.py").write_text("")
    monkeypatch.setattr(environment.covid_lm, "__file__", str(installed / "__init__.py"))
    assert environment.commit() == "unknown"
    monkeypatch.setenv("PATH", "")
    assert environment.commit() == "unknown"
