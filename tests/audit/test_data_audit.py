"""Audits of small made-up data sets, of phantoms with and without a leak, and of COVID-CT."""

import dataclasses

import numpy as np
import pytest

from covid_lm.auditing.data_audit import AuditReport, audit_dataset
from covid_lm.auditing.findings import Finding, auc_severity, ranked, share_severity
from covid_lm.data.covid_ct import covid_ct
from covid_lm.data.phantom.dataset import LEAKS, phantom
from covid_lm.data.records import ImageDataset
from covid_lm.errors import InputError
from tests.audit.planted_leaks import EXPECTED_CHECKS, expected_finding
from tests.audit.synthetic import noise, noise_dataset, record
from tests.conftest import encode


def severities(report: AuditReport) -> dict[str, str]:
    return {finding.check: finding.severity for finding in report.findings}


def test_noise_has_no_finding(noise_report):
    report = noise_report
    assert report.findings == ()
    # names, order, file size, first bytes (the length of the data) and six on the pixels
    assert report.probes_run == 10
    assert report.not_probed == ""


def test_equal_seeds_give_equal_reports():
    first, second = (audit_dataset(noise_dataset(30), permutations=99) for _ in range(2))
    assert first.findings == second.findings
    assert first.probes == second.probes


def test_a_class_in_the_name_is_high():
    report = audit_dataset(noise_dataset(name=lambda number, label: f"{'ab'[label]}{number:03}"))
    finding = report.findings[0]
    assert (finding.check, finding.severity, finding.leakage_class) == (
        "name_characters",
        "high",
        "L2",
    )
    assert "\"begins with 'a'\" holds for 100% of negative and 0% of positive" in finding.summary
    assert finding.effect["value"] == 1
    assert finding.effect["adjusted_p_value"] < 0.05
    assert finding.examples[0].endswith("a000")


def test_structure_findings():
    dataset = noise_dataset(24)
    extra = [
        record("copy.jpg", 0, "test", encode(noise(0)), path="data/copy.jpg"),  # as 0, in train
        record("turned.png", 1, "train", encode(noise(2)), path="data/turned.png"),
        record("one.png", 0, "train", encode(noise(91)), patient="p"),
        record("two.png", 0, "test", encode(noise(92)), patient="p"),
        record("bad.png", 1, "test", b"no image", path="data/bad.png"),
    ]
    dataset = dataclasses.replace(dataset, records=(*dataset.records, *extra))
    report = audit_dataset(dataset, permutations=99)
    assert severities(report) == {
        "patients_across_splits": "high",  # 1 of 10 test images
        "duplicates_across_splits": "high",
        "duplicates_opposite_labels": "high",
        "duplicates_within_split": "low",
        "extension_mismatch": "low",
        "unreadable": "low",
    }
    found = {finding.check: finding for finding in report.findings}
    assert found["unreadable"].examples == ("data/bad.png: not an image",)
    assert found["extension_mismatch"].summary == "1 file(s): 1 in test."
    assert found["duplicates_across_splits"].summary.startswith(
        "1 of 10 test images have a copy in another split (1 pair(s) across splits, 1 of them exact"
    )
    assert found["patients_across_splits"].leakage_class == "L3.2"
    first, second = found["duplicates_opposite_labels"].pairs[0]
    names = [report.observations[i].record.filename for i in (first, second)]
    assert names == ["05831.png", "turned.png"]


def test_too_few_images_are_not_probed():
    report = audit_dataset(noise_dataset(2))
    assert report.probes == ()
    assert report.not_probed == (
        "too few images to probe: fewer than 8 independent images of negative (1), positive (1)"
    )


def test_a_small_class_is_left_out():
    records = [
        *noise_dataset(40).records,
        *(record(f"x{i}", 2, "train", encode(noise(200 + i))) for i in range(3)),
    ]
    dataset = ImageDataset("three", ("a", "b", "c"), tuple(records))
    report = audit_dataset(dataset, permutations=99)
    assert report.not_probed == ("left out of the probes: fewer than 8 independent images of c (3)")
    assert {row.result.score.n for row in report.probes if row.result} == {40}


def test_errors_for_unusable_data():
    with pytest.raises(InputError, match=r"^noise: has one class only; an audit needs two$"):
        audit_dataset(noise_dataset(4, classes=("only",)))
    bad = ImageDataset("bad", ("a", "b"), (record("a", payload=b"x"), record("b", 1, payload=b"")))
    message = r"^data/train/0/a: can't be decoded \(not an image\), nor can any other file$"
    with pytest.raises(InputError, match=message):
        audit_dataset(bad)


def test_severity_rules():
    assert [auc_severity("file", low) for low in (0.65, 0.6, 0.54)] == ["high", "medium", "low"]
    assert [auc_severity("picture", low) for low in (0.8, 0.7, 0.6)] == ["high", "medium", "low"]
    assert [share_severity(share) for share in (0.05, 0.01, 0.001)] == ["high", "medium", "low"]
    plain = Finding("c", "t", "low", None, "s", "a")
    strong = dataclasses.replace(plain, severity="high", effect={"interval": [0.9, 1.0]})
    weak = dataclasses.replace(plain, severity="high", effect={"interval": [0.7, 0.8]})
    assert ranked([plain, weak, strong]) == [strong, weak, plain]


@pytest.mark.parametrize("leak", LEAKS)
def test_a_planted_leak_is_the_first_finding(leak, slices_drawn_once):
    report = audit_dataset(phantom(num_images=96, seed=1, leak=leak), permutations=599)
    assert report.findings[0].check == EXPECTED_CHECKS[leak]
    assert report.findings[0].severity == "high"


def test_no_leak_no_high_finding(slices_drawn_once):
    report = audit_dataset(phantom(num_images=96, seed=1), permutations=599)
    assert "high" not in severities(report).values()
    assert expected_finding(report.findings, "mode") is None


@pytest.mark.slow
@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("seed", range(20))
def test_power(leak, seed, slices_drawn_once):
    first = audit_dataset(phantom(seed=seed, leak=leak)).findings[0]
    assert (first.check, first.severity) == (EXPECTED_CHECKS[leak], "high")


@pytest.mark.slow
def test_silence():
    found = [
        severity
        for seed in range(40)
        for severity in severities(audit_dataset(phantom(seed=seed))).values()
    ]
    assert found.count("high") == 0
    assert found.count("medium") <= 2


@pytest.mark.slow
def test_covid_ct(covid_ct_dir):
    report = audit_dataset(covid_ct(covid_ct_dir))
    found = severities(report)
    high = ("name_length", "name_characters", "container_bytes", "metadata", "mode", "extension")
    assert {check: found[check] for check in high} == dict.fromkeys(high, "high")
    assert found["compression"] == found["border"] == "medium"
    by_check = {finding.check: finding for finding in report.findings}
    assert "accuracy 100.0%" in by_check["name_length"].summary
    assert "203/203 on the test split" in by_check["name_length"].summary
    assert by_check["extension_mismatch"].summary == "34 file(s): 32 in val, 2 in test."
    names = {
        frozenset(report.observations[i].record.filename for i in pair)
        for pair in by_check["duplicates_opposite_labels"].pairs
    }
    assert names == {
        frozenset({"kjr-21-e24-p5-29.png", "71%0.jpg"}),
        frozenset({"kjr-21-e24-p5-31.png", "71%1.jpg"}),
    }
    stems = by_check["name_stems_across_splits"].summary
    assert "2020.03.12.20034686-p17-91 (train and test, 6 patients by the metadata)" in stems
    test = report.splits[2]
    assert (test.files, test.patients, test.most_files_of_a_patient) == (203, 95, 9)
    effects = [row.result.test.design_effect for row in report.probes if row.result]
    assert 2 < np.median(effects) < 3.5
