"""The page: well-formed, self-contained, escaped, and complete when figures are unknown."""

import collections
import html
import html.parser
import re
import types
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from covid_lm.evaluation.protocol_metrics import Evaluation
from covid_lm.report.run_report import TABLE_CLASSES, report_html, write_run_report
from tests.report.evaluated import HOSTILE, evaluated

SECTIONS = [
    "protocols",
    "factors",
    "learning",
    "curves",
    "confusion",
    "mistakes",
    "visible",
    "attribution",
    "settings",
]


class Resources(html.parser.HTMLParser):
    """Collects the resources that a page would load, its links and its ids."""

    def __init__(self, page: str):
        super().__init__()
        self.loaded, self.links, self.ids = [], [], collections.Counter()
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        assert tag not in ("script", "link", "iframe", "object", "embed")
        for key, value in attrs:
            assert not key.startswith("on")
            if key in ("src", "srcset", "xlink:href"):
                self.loaded.append(value)
            if key == "href":
                self.links.append(value)
            if key == "id":
                self.ids[value] += 1


def check_page(page: str) -> ElementTree.Element:
    """Checks that hold for every page; returns its tree."""
    root = ElementTree.fromstring(page.replace("<!DOCTYPE html>", ""))
    page.encode("utf-8")
    resources = Resources(page)
    assert all(
        source.startswith(("data:image/png;", "data:image/jpeg;")) for source in resources.loaded
    )
    assert all(link[1:] in resources.ids for link in resources.links)
    assert max(resources.ids.values()) == 1
    assert "http" not in page
    assert page.count("url(") == page.count("url(#")
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    assert [h.get("id") for h in root.iter("h2")] == SECTIONS
    assert all(image.get("alt") for image in root.iter("img"))
    assert all(plot.get("aria-label") for plot in root.iter("svg"))
    return root


def text_of(element: ElementTree.Element) -> str:
    return "".join(element.itertext())


@pytest.fixture(scope="module")
def page(two_classes) -> str:
    return report_html(**two_classes.arguments())


def test_the_page_of_two_classes(page):
    root = check_page(page)
    text = text_of(root)
    assert "Early stopping used the test split" in text
    assert "The length of the file name alone, without the image, gives 12/12" in text
    assert "patient bootstrap, 4 patients" in text
    assert "Not a medical device" in text
    assert "Integrated gradients over token embeddings" in text
    assert len(list(root.iter("svg"))) == 4
    assert "most frequent class" in text
    assert any(table.get("class") == "confusion" for table in root.iter("table"))
    assert "Most frequent confusions" not in text


def test_figures_by_factor(page, two_classes):
    text = text_of(check_page(page))
    row = re.search(r"scanner \| 1\s*A & B\s*8\s*2\s*(\S+ \[.*?\])\s*(\S+ \[.*?\])", text)
    assert row.groups() == ("0.750 [0.500, 0.900]", "0.625 [0.250, 0.875]")
    assert "Factors without figures: note (12 different values)." in text
    metrics = {**two_classes.metrics, "factors": {}}
    other = text_of(check_page(report_html(**two_classes.arguments(metrics=metrics))))
    assert "No factors, such as scanner, sex or age, are recorded for these images." in other


def test_names_are_escaped(page):
    assert "<script" not in page
    assert html.escape(HOSTILE) in page
    assert "<cat>" not in page
    assert "a <b>" not in page


def test_headline_of_the_metrics(two_classes):
    changed = {**two_classes.metrics, "headline": "Right <often>"}
    page = report_html(**two_classes.arguments(metrics=changed))
    assert "<body>\n<header><h1>Right &lt;often&gt;</h1>\n" in page
    assert "<p>tiny on covid_ct, test split. Under its own protocol (paper): accuracy 0." in page


def test_mistakes_and_attributions_are_few_for_any_number_of_images(page, two_classes):
    root = ElementTree.fromstring(page.replace("<!DOCTYPE html>", ""))
    thumbnails = [i for i in root.iter("img") if i.get("class") == "thumbnail"]
    labels = np.array([r.label for r in two_classes.images.records])
    own = next(iter(two_classes.predictions.values()))
    wrong = int(np.sum(own.argmax(1) != labels))
    assert len(thumbnails) == min(8, wrong)
    pairs = [i for i in root.iter("img") if i.get("class") == "pixels"]
    attributed = min(2, wrong) + min(4 - min(2, wrong), len(labels) - wrong)
    assert len(pairs) == 2 * (2 + attributed)  # the shortest and the longest name first


def test_keys_may_be_missing(two_classes):
    old = {"protocols": {"paper": {"n": 12, "correct": 6, "accuracy": 0.5, "auc": None}}}
    page = report_html(**two_classes.arguments(metrics=old, epochs=[], run={}))
    text = text_of(check_page(page))
    assert "unknown model on unknown data, unknown split" in text
    assert "<h1>The main result is unknown.</h1>" in page
    assert "unknown: these metrics have no confusion matrix." in text
    assert "Reliability unknown" in text
    assert "unknown: no epoch was logged." in text
    assert "95% intervals: unknown method" in text
    assert "<tr><td>sensitivity</td>\n<td>-</td></tr>" in page


def test_a_split_that_lacks_a_class(two_classes):
    images = two_classes.images
    of_one = [k for k, record in enumerate(images.records) if record.label == 0]
    part = type(images)(images.pixels[of_one], tuple(images.records[k] for k in of_one))
    predictions = {name: p[of_one] for name, p in two_classes.predictions.items()}
    page = report_html(**two_classes.arguments(images=part, predictions=predictions))
    assert "No ROC curve: a class has no example." in page


def test_no_mistake_at_all(two_classes):
    labels = np.array([record.label for record in two_classes.images.records])
    perfect = {"paper": np.eye(2, dtype=np.float32)[labels]}
    page = report_html(**two_classes.arguments(predictions=perfect))
    assert "None: every image was classified correctly." in page
    check_page(page)


def test_many_classes():
    classes = tuple(f"class {k}" for k in range(TABLE_CLASSES + 1))
    many = evaluated(classes, "fixed", "gray22", images_per_class=1)
    page = report_html(**many.arguments())
    root = check_page(page)
    assert not any(table.get("class") == "confusion" for table in root.iter("table"))
    assert "Most frequent confusions" in page
    assert "one class against the rest, averaged" in page
    assert "484 of 484 luminance values; 24 positions for the name" in page


def test_a_model_without_tokens_gets_no_pictures_of_them(two_classes):
    model = two_classes.classifier
    pixels = types.SimpleNamespace(config=model.config, reads_tokens=False, logits=model.logits)
    page = report_html(**two_classes.arguments(classifier=pixels))
    root = check_page(page)
    assert page.count("This model reads the pixels of the whole image, not tokens") == 2
    assert not [i for i in root.iter("img") if i.get("class") == "pixels"]


def test_the_file_is_the_page_of_the_evaluation(page, two_classes, tmp_path):
    rows, images = two_classes.metrics["protocols"], two_classes.images
    evaluation = Evaluation(rows, two_classes.predictions, images)
    run = {"config": {"run": two_classes.run}, "epochs": two_classes.epochs}
    path = tmp_path / "report.html"
    write_run_report(str(path), two_classes.classifier, evaluation, two_classes.metrics, run)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text(encoding="utf-8") == page
