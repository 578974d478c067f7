"""Markup in any name is shown as text in the page of an audit."""

import xml.etree.ElementTree as ElementTree

from covid_lm.auditing.audit_report import html_report
from covid_lm.auditing.data_audit import audit_dataset
from covid_lm.data.records import ImageDataset
from tests.audit.synthetic import noise, record
from tests.conftest import encode
from tests.markup import HARMLESS, PAYLOAD, Content


def audit_page(text: str) -> str:
    """Page of duplicates and an unreadable file, with a text as all names of files and classes."""
    records = [
        record(
            name=f"{number}{text}",
            label=number % 2,
            split="test" if number < 4 else "train",
            payload=encode(noise(number % 5)) if number else b"no image",
            path=f"{text}/{number}{text}",
            patient=f"{number}{text}",
        )
        for number in range(8)
    ]
    dataset = ImageDataset(text, (f"0{text}", f"1{text}"), tuple(records))
    report = audit_dataset(dataset, permutations=9)
    model = {"model": text, "protocol": text, "images": 3, "rows": [], "attribution": {text: {}}}
    return html_report(report.with_model(model, []))


def test_markup_in_names_is_shown_as_text():
    page = audit_page(PAYLOAD)
    content = Content(page)
    assert content.tags == Content(audit_page(HARMLESS)).tags
    assert content.text.count(PAYLOAD) > 20
    assert sum(tag[0] == "img" for tag in content.tags) >= 2
    ElementTree.fromstring(page.replace("<!DOCTYPE html>", ""))
