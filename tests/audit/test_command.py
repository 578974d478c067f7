"""The tool: its output, its exit statuses and its error messages."""

import html.parser
import json
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from covid_lm.auditing.audit_report import html_report, text_summary
from covid_lm.auditing.command import run_audit
from covid_lm.auditing.data_audit import audit_dataset
from covid_lm.errors import InputError
from tests.audit.synthetic import noise, noise_dataset, record
from tests.conftest import REPOSITORY, encode
from tests.tool_arguments import load_tool


def write_folder(root: pathlib.Path, count: int, leak: bool = False, split: str = "") -> str:
    for number in range(count):
        class_name = ("cat", "dog")[number % 2]
        directory = root / split / class_name
        directory.mkdir(parents=True, exist_ok=True)
        stem = f"{(number * 7919) % 10007:05}" + ("long" if leak and number % 2 else "")
        (directory / f"{stem}.png").write_bytes(encode(noise(number)))
    return str(root)


@pytest.fixture(scope="module")
def leaking(tmp_path_factory) -> str:
    root = tmp_path_factory.mktemp("leaking")
    directory = write_folder(root, 48, leak=True)
    (root / "dog" / "damaged.png").write_bytes(b"no image")
    return directory


def test_summary_files_and_exit_status(leaking, tmp_path, capsys):
    output = tmp_path / "made" / "here"
    assert run_audit("folder", leaking, output=str(output), fail_on="high") == 3
    printed = capsys.readouterr().out
    assert printed.startswith("audit of folder: 48 images\n")
    assert "HIGH   file name length [L2 features that are not legitimate]" in printed
    assert "no test split [L1.1 no separate test set]" in printed
    assert "damaged.png: not an image" in printed
    assert "(p-values with Holm's correction for their number)" in printed
    report = json.loads((output / "audit.json").read_text())
    assert report["findings"][0]["check"] == "name_length"
    assert report["probes_run"] == sum(not probe["constant"] for probe in report["probes"])
    assert report["unreadable"][0]["reason"] == "not an image"
    assert (output / "audit.html").read_text().startswith("<!DOCTYPE html>")


def test_exit_status_without_fail_on(leaking, capsys):
    assert run_audit("folder", leaking) == 0


def test_two_images(tmp_path, capsys):
    assert run_audit("folder", write_folder(tmp_path, 4), fail_on="high") in (0, 3)
    assert "too few images to probe: fewer than 8 independent images" in capsys.readouterr().out


def test_one_class(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(encode(noise(0)))
    with pytest.raises(InputError) as refused:
        run_audit("folder", str(tmp_path))
    assert str(refused.value) == (
        f"{tmp_path}: 1 class folder(s) found; one folder per class is needed"
    )


def test_the_tool_in_process(leaking, capsys):
    audit, values = load_tool(str(REPOSITORY / "tools" / "audit.py"))
    for name in values:
        values[name].unparse()
    values(["audit.py", "--dataset=folder", f"--data_dir={leaking}", "--fail_on=high"])
    assert audit.main([]) == 3
    assert "HIGH" in capsys.readouterr().out


def test_a_wrong_flag_is_one_line():
    command = [sys.executable, str(REPOSITORY / "tools" / "audit.py"), "--fail_on=low"]
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": ""}
    wrong = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert wrong.returncode == 2
    assert wrong.stderr.count("\n") == 1
    assert "<never|high>" in wrong.stderr


def test_tensorflow_is_not_imported():
    code = "import sys, covid_lm.auditing.command; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY).returncode == 0


class Resources(html.parser.HTMLParser):
    """Collects the resources that a page loads."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "iframe")
        self.found += [value for key, value in attrs if key in ("src", "href", "srcset")]


def test_the_page_is_well_formed_and_self_contained():
    dataset = noise_dataset(24, classes=("<a>", "b&c"))
    extra = [
        record("co\udcffpy & <b>.png", 1, "test", encode(noise(0))),
        record("bad\x01.png", 0, "train", b"no image"),
    ]
    dataset = type(dataset)("<noise>", dataset.classes, (*dataset.records, *extra))
    page = html_report(audit_dataset(dataset, permutations=99))
    page.encode("utf-8")
    ElementTree.fromstring(page.replace("<!DOCTYPE html>", ""))
    resources = Resources()
    resources.feed(page)
    assert len(resources.found) == 4  # the thumbnails of two pairs
    assert all(value.startswith("data:image/jpeg;base64,") for value in resources.found)
    assert "url(" not in page
    assert "&lt;b&gt;.png" in page
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_text_without_findings(noise_report):
    text = text_summary(noise_report)
    assert "findings: none; 7 probes were run" in text
    assert "the same for every file: file name length, " in text
