"""Answers to reporting checklists: measured, or "not recorded"."""

import dataclasses

import pytest

from covid_lm.auditing.audit_report import html_report, json_report
from covid_lm.auditing.checklists import NOT_RECORDED, checklist_answers
from covid_lm.auditing.data_audit import AuditReport, audit_dataset
from tests.audit.synthetic import noise_dataset, record


@pytest.fixture(scope="module")
def report() -> AuditReport:
    """24 images of 12 patients, of which two are in both splits; a copy and an unreadable file."""
    dataset = noise_dataset(24, classes=("ill", "well"))
    records = [
        dataclasses.replace(
            item,
            patient=f"P{number % 12}" if number else None,
            factors={"Manufacturer": "AB"[number % 2], "site": "" if number < 3 else "north"},
        )
        for number, item in enumerate(dataset.records)
    ]
    extra = [
        record("copy.png", 0, "test", records[0].read(), patient="P99"),
        record("damaged.png", 0, "train", b"\x89PNG\r\n\x1a\n", patient="P98"),
    ]
    dataset = dataclasses.replace(dataset, records=(*records, *extra))
    return audit_dataset(dataset, permutations=9)


def by_item(report: AuditReport) -> dict[tuple[str, str], str]:
    return {(row.checklist, row.item): row.answer for row in checklist_answers(report)}


def test_what_was_measured(report):
    answers = by_item(report)
    splits = {row.split: row.files for row in report.splits}
    assert splits == {"train": 16, "test": 9}
    shared = {r.patient for r in (o.record for o in report.observations) if r.patient}
    both = [
        patient
        for patient in shared
        if len({o.record.split for o in report.observations if o.record.patient == patient}) == 2
    ]
    assert answers["CLAIM", "20"] == (
        f"{len(both)} of 13 known patients in several splits; 1 pair(s) of duplicates across "
        "splits; 0 source(s) by file name in several splits"
    )
    assert answers["CLAIM", "19"] == answers["TRIPOD+AI", "12a"]
    assert answers["CLAIM", "19"] == (
        "train 16 (64%), test 9 (36%); as the data gives them, how they were drawn: not recorded"
    )
    for part in (answers["CLAIM", "19"], answers["CLAIM", "20"], answers["TRIPOD+AI", "13"]):
        assert part in answers["METRICS", "18"]
    assert (
        "train 50% ill, 50% well; test 56% ill, 44% well; equal shares"
        in answers["TRIPOD+AI", "13"]
    )
    assert answers["TRIPOD+AI", "16"] == (
        f"{answers['TRIPOD+AI', '13']}; factors that differ by more than chance: none"
    )
    assert answers["CLAIM", "12"] == (
        "1 unreadable file(s), left out; missing values in 25 images: patient 1, Manufacturer 1, "
        "site 4"
    )
    assert answers["CLAIM", "9"] == (
        "files: 25 PNG; modes: 25 L; 48 to 48 pixels wide, 40 to 40 high"
    )
    assert answers["CLAIM", "13"] == "Manufacturer: A, B"
    assert answers["TRIPOD+AI", "6a"] == "site: north"
    assert answers["CLAIM", "36"].startswith(
        "Manufacturer (train / test): A 50% / 44%, B 50% / 44%"
    )
    assert answers["TRIPOD+AI", "20a"].startswith("25 images of 13 known patients included, 1 unr")


def test_what_was_not_measured(noise_report):
    answers = by_item(noise_report)
    for item in (("CLAIM", "7"), ("CLAIM", "8"), ("CLAIM", "14-18"), ("TRIPOD+AI", "5b")):
        assert answers[item] == NOT_RECORDED
    assert answers["CLAIM", "20"].startswith("patients not recorded; 0 pair(s) of duplicates")
    assert answers["CLAIM", "36"] == NOT_RECORDED
    assert answers["TRIPOD+AI", "16"].endswith("; setting and patients: not recorded")


def test_answers_of_the_repaired_data_are_next_to_them(report, noise_report):
    lines = ("new splits: drawn", "neutral copy: gray")
    both = dataclasses.replace(report, repairs=lines, repaired=noise_report)
    rows = {(row.checklist, row.item): row for row in checklist_answers(both)}
    assert rows["CLAIM", "19"].answer.endswith("how they were drawn: not recorded")
    assert rows["CLAIM", "19"].repaired.endswith("; new splits: drawn, by a fixed seed")
    assert rows["CLAIM", "9"].repaired.endswith("; neutral copy: gray")
    page = html_report(both)
    assert "<h2>Answers to checklists</h2>" in page
    assert "<td>new splits" not in page
    assert '<th scope="col">after the repairs</th>' in page
    assert "<td>the same</td>" in page
    content = json_report(both)
    assert content["checklists"][0]["checklist"] == "METRICS"
    assert content["repaired"]["checklists"] == []
    assert "after the repairs" not in html_report(noise_report)
