"""Markup in any name or flag value is shown as text, in the report and in the model card."""

import dataclasses
import xml.etree.ElementTree as ElementTree

import pytest

from covid_lm.pipeline.decoded import DecodedRecords
from covid_lm.report.model_card import model_card
from covid_lm.report.run_report import report_html
from tests.markup import HARMLESS, PAYLOAD, Content, rendered
from tests.report.evaluated import factor_row


@pytest.fixture
def pages(two_classes, monkeypatch):
    """Builds report and card with a text as class, file, data set, run name and flag values."""

    def build(text: str) -> tuple[str, str]:
        classifier, images = two_classes.classifier, two_classes.images
        metrics = two_classes.metrics
        config = dataclasses.replace(
            classifier.config, classes=(f"0{text}", f"1{text}"), backbone_name=text
        )
        monkeypatch.setattr(classifier, "config", config)
        records = tuple(
            dataclasses.replace(record, filename=text, path=text, patient=text)
            for record in images.records
        )
        rows = {
            f"{name}{text}": {**row, "positive_class": text, "ci95_method": text}
            for name, row in metrics["protocols"].items()
        }
        flags = ("name", "data_dir", "weights", "backbone", "command", "dtype", "layout")
        run = {**dict.fromkeys((*flags, "early_stopping", "schedule"), text), text: {text: text}}
        metrics = {**metrics, "protocols": rows, "dataset": text, "split": text, "headline": text}
        metrics |= {"early_stopping": text, "floors": {text: {"n": 12, "correct": 6}}}
        groups = [{"level": text, **factor_row(8)}, {"level": text, "suppressed": "few patients"}]
        factors = {text: {"groups": groups}, f"2{text}": {"left_out": "12 different values"}}
        metrics |= {"factors": factors}
        images = DecodedRecords(images.pixels, records)
        arguments = {"classifier": classifier, "images": images, "metrics": metrics, "run": run}
        page = report_html(**two_classes.arguments(**arguments))
        return page, model_card(classifier, records, metrics, run)

    return build


def test_markup_in_names_is_shown_as_text(pages):
    page, card = pages(PAYLOAD)
    harmless_page, harmless_card = pages(HARMLESS)
    content, expected = Content(page), Content(harmless_page)
    assert content.tags == expected.tags
    assert content.text.count(PAYLOAD) == expected.text.count(HARMLESS) > 20
    ElementTree.fromstring(page.replace("<!DOCTYPE html>", ""))
    content, expected = Content(rendered(card)), Content(rendered(harmless_card))
    assert content.tags == expected.tags
    assert content.text.count(" ".join(PAYLOAD.split())) == expected.text.count(HARMLESS) > 15
    assert len(card.splitlines()) == len(harmless_card.splitlines())
