"""The tool: its output, its exit statuses and its error messages."""

import dataclasses
import html.parser
import importlib.resources
import json
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from covid_lm.auditing.audit_report import html_report, json_report, text_summary
from covid_lm.auditing.baseline import exit_status
from covid_lm.auditing.command import run_audit
from covid_lm.auditing.data_audit import audit_dataset
from covid_lm.auditing.findings import Finding
from covid_lm.data import load_dataset
from covid_lm.errors import InputError
from tests.audit.schema_check import violations
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


@pytest.mark.parametrize(
    ("severities", "fail_on", "status"),
    [
        ("high low", "high", 3),
        ("medium low", "high", 0),
        ("medium low", "medium", 3),
        ("high", "medium", 3),
        ("low info", "medium", 0),
        ("high medium", "never", 0),
        ("", "medium", 0),
    ],
)
def test_exit_status_by_severity(severities, fail_on, status):
    findings = [Finding("x", "x", name, None, "", "") for name in severities.split()]
    assert exit_status(findings, fail_on) == status


def test_a_baseline_counts_only_what_is_new(leaking, tmp_path, capsys):
    baseline = str(tmp_path / "audit.json")
    assert run_audit("folder", leaking, output=str(tmp_path), fail_on="never") == 0
    content = json.loads((tmp_path / "audit.json").read_text())
    known = f"\nnew since the baseline of {len(content['findings'])} finding(s): "
    assert run_audit("folder", leaking, fail_on="high", baseline=baseline) == 0
    assert f"{known}none\n" in capsys.readouterr().out
    content["findings"][0]["severity"] = "low"  # now it is worse
    (tmp_path / "audit.json").write_text(json.dumps(content))
    assert run_audit("folder", leaking, fail_on="high", baseline=baseline) == 3
    assert f"{known}high: file name length\n" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["{}", '{"findings": [1]}', '{"findings": {"a": 1}}', "[]"])
def test_a_file_that_is_no_baseline(leaking, tmp_path, content):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"not an audit\.json|not a JSON object"):
        run_audit("folder", leaking, baseline=str(path))


def schema() -> dict:
    path = importlib.resources.files("covid_lm.auditing") / "audit.schema.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_reports_have_the_schema(noise_report):
    report = dataclasses.replace(noise_report, repairs=("none",), repaired=noise_report)
    content = json.loads(json.dumps(json_report(report)))
    assert [*violations(content, schema(), schema())] == []
    assert content.keys() == schema()["properties"].keys()
    assert {*schema()["required"]} == content.keys()
    content["repaired"]["splits"][0]["files"] = "many"
    content["probes"][0]["kind"] = None
    del content["classes"]
    assert [*violations(content, schema(), schema())] == [
        "$: no classes",
        "$.probes[0].kind: None is not of type string",
        "$.repaired: none of anyOf",
    ]


def test_data_frames_and_the_view_in_a_notebook(leaking):
    report = audit_dataset(load_dataset("folder", leaking))
    findings, probes = report.findings_table, report.probes_table
    assert findings["severity"].tolist() == [finding.severity for finding in report.findings]
    assert findings.loc[0, "check"] == "name_length"
    first = report.findings[0].effect
    assert findings.loc[0, ["value", "low", "high"]].tolist() == [
        first["value"],
        *first["interval"],
    ]
    names = probes.set_index("check")
    score = next(row.result.score for row in report.probes if row.check.name == "name_length")
    assert names.loc["name_length", "auc"] == score.auc
    assert names.loc["name_length", ["low", "high"]].tolist() == list(score.auc_interval)
    assert names.loc[["size", "mode"], "auc"].isna().all()
    assert len(probes) == len(report.probes)
    view = report._repr_html_()
    ElementTree.fromstring(view.strip())
    assert "<strong>audit of folder: 48 images</strong>; findings: " in view
    assert "<td>file name length</td>" in view
    assert "<html" not in view


def test_the_view_of_an_audit_without_findings_is_escaped(noise_report):
    view = dataclasses.replace(noise_report, dataset="<b>")._repr_html_()
    assert "audit of &lt;b&gt;: 60 images</strong>; findings: none" in view


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
    assert "<high|medium|never>" in wrong.stderr


def test_an_audit_with_repairs_imports_no_tensorflow(image_folder, tmp_path):
    code = (
        "import sys, covid_lm\n"
        "root, output = sys.argv[1:]\n"
        "outputs = {'output': f'{output}/audit', 'split': f'{output}/new.csv'}\n"
        "report = covid_lm.audit(root, **outputs, neutralise=f'{output}/copy')\n"
        "assert len(report.repaired.observations) == 42\n"
        "print(*sorted({'tensorflow', 'keras', 'torch', 'jax'} & {*sys.modules}))"
    )
    command = [sys.executable, "-c", code, image_folder, str(tmp_path)]
    process = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert process.stdout == "\n"
    assert {path.name for path in tmp_path.iterdir()} == {"audit", "new.csv", "copy"}


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
    assert "findings: none; 10 probes were run" in text
    assert "the same for every file: file name length, " in text
