"""Checks of small models of random weights: one that reads names, and one that reads none."""

import keras
import numpy as np
import pytest

from covid_lm.auditing.audit_report import html_report, json_report, model_table, text_summary
from covid_lm.auditing.data_audit import audit_dataset
from covid_lm.auditing.model import model_checks
from covid_lm.auditing.model.model_checks import (
    EDITS,
    attribution_shares,
    check_model,
    edited_names,
)
from covid_lm.auditing.model.model_findings import model_findings
from covid_lm.backbones.configs import BackboneConfig
from covid_lm.errors import InputError
from covid_lm.models.saving import load_classifier, save_config, save_weights
from covid_lm.models.token_classifier import TokenClassifier, TokenClassifierConfig
from tests.audit.synthetic import noise, noise_dataset, record
from tests.conftest import encode

CHARACTERS = "abcdefghijklmnopqrstuvwxyz.-_"
VOCABULARY = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *map(str, range(256)),
    *CHARACTERS,
)
CLASSES = ("negative", "positive")


def save_run(directory, protocol: str) -> str:
    """A model with random weights, large enough to make its output depend on every token."""
    backbone = BackboneConfig(1, 16, 2, 32, vocabulary_size=len(VOCABULARY))
    config = TokenClassifierConfig(CLASSES, "test", backbone, protocol=protocol)
    keras.utils.set_random_seed(5)
    classifier = TokenClassifier(config, VOCABULARY)
    generator = np.random.default_rng(5)
    classifier.logits.set_weights(
        [w + 0.3 * generator.standard_normal(w.shape) for w in classifier.logits.get_weights()]
    )
    run = directory / protocol / "run"
    run.mkdir(parents=True)
    save_config(classifier, str(run), {})
    save_weights(classifier, str(run))
    return str(directory / protocol)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, str]:
    directory = tmp_path_factory.mktemp("saved_models")
    return {protocol: save_run(directory, protocol) for protocol in ("paper", "fixed")}


@pytest.fixture(autouse=True)
def few_attributed_images(monkeypatch):
    """Two images instead of eight, for speed."""
    monkeypatch.setattr(model_checks, "MAX_ATTRIBUTED", 2)


@pytest.fixture(scope="module")
def dataset():
    return noise_dataset(30, name=lambda number, label: f"{'n' * (label * 6 + 1)}{number}.png")


@pytest.fixture(scope="module")
def report(dataset):
    return audit_dataset(dataset, permutations=9)


def rows_by_edit(results: dict, policy: str) -> dict[str, dict]:
    return {row["edit"]: row for row in results["rows"] if row["policy"] == policy}


def test_a_paper_model_depends_on_the_names(models, dataset, report):
    results, findings = check_model(models["paper"], dataset, report.observations)
    assert results["images"] == 10
    assert len(results["rows"]) == 2 * len(EDITS)
    for policy in ("masked", "visible"):
        rows = rows_by_edit(results, policy)
        assert not rows["names exchanged between files"]["identical"]
        assert not rows["name blanked"]["identical"]
        assert rows["metadata stripped"]["identical"]
        assert rows["unchanged"]["flipped"] == 0
        assert rows["image blanked"]["largest_change"] > 0
        assert results["attribution"][policy]["name"] > 0
        assert sum(results["attribution"][policy].values()) == pytest.approx(1)
    titles = [finding.title for finding in findings]
    assert "predictions change when files are renamed (visible names)" in titles
    merged = report.with_model(results, findings)
    assert len(merged.findings) == len(report.findings) + len(findings)
    assert "names exchanged between files" in text_summary(merged)
    assert "<h2>Model</h2>" in html_report(merged)
    assert json_report(merged)["model"]["protocol"] == "paper"


def test_a_fixed_model_is_bit_identical_under_other_names(models, dataset, report):
    results, findings = check_model(models["fixed"], dataset, report.observations)
    rows = rows_by_edit(results, "fixed")
    for edit in ("names exchanged between files", "name blanked", "metadata stripped"):
        assert rows[edit]["identical"]
        assert rows[edit]["largest_change"] == 0
    assert rows["image blanked"]["auc"] == 0.5
    assert not any("rename" in finding.title for finding in findings)
    table = model_table(results).set_index("edit")
    assert table["output"]["name blanked"] == "identical"
    assert table["output"]["image blanked"] == "differs"


def test_exchanged_names():
    names = [b"a", b"b", b"b", b"c"]
    exchanged = edited_names(names, "exchange", seed=0)
    assert sorted(set(exchanged)) == [b"a", b"b", b"c"]
    assert all(before != after for before, after in zip(names, exchanged, strict=True))
    assert edited_names(names, "blank", 0) == [b""] * 4
    assert edited_names(names, "keep", 0) == names


def with_padding_for(classifier: TokenClassifier, symbols, segments: bool) -> None:
    """Gives the symbols the embedding of [PAD], and both segments one embedding."""
    table = classifier.backbone.token_embedding.embeddings
    values = table.numpy()
    values[[classifier.vocabulary.index(s) for s in symbols]] = values[0]
    table.assign(values)
    if segments:
        table = classifier.backbone.segment_embedding.embeddings
        table.assign(np.tile(table.numpy()[:1], [2, 1]))


@pytest.mark.parametrize(
    ("unread", "segments", "read"),
    [(map(str, range(256)), False, "name"), (CHARACTERS, True, "image")],
    ids=["names", "images"],
)
def test_attribution_of_a_model_that_reads_only_one_kind(unread, segments, read, models):
    classifier = load_classifier(models["paper"] + "/run")
    with_padding_for(classifier, [*unread, "[SEP]"], segments)
    records = [record(f"{name}.png", payload=encode(noise(1))) for name in ("scan", "slice")]
    shares = attribution_shares(classifier, "visible", records, np.eye(2))
    assert shares.keys() == {"image", "name", "special"}
    assert sum(shares.values()) == pytest.approx(1)
    assert shares[read] > 0.8
    assert shares["image" if read == "name" else "name"] < 1e-6


def row(edit, **changes) -> dict:
    values = {
        "policy": "masked",
        "edit": edit,
        "identical": False,
        "mean_change": 0.2,
        "largest_change": 0.9,
        "flipped": 40,
        "flipped_interval": [0.3, 0.5],
        "accuracy": 0.9,
        "auc": 0.5,
        "auc_interval": [0.4, 0.6],
    }
    return {**values, **changes}


def test_severities_of_model_findings():
    results = {
        "images": 100,
        "rows": [
            row("names exchanged between files"),
            row("name blanked", flipped_interval=[0.0, 0.04]),
            row("metadata stripped", identical=True),
            row("JPEG q95 and back", flipped_interval=[0.1, 0.2]),
            row("burned-in marks removed", flipped_interval=[0.1, 0.2]),
            row("burned-in marks removed", policy="visible", flipped_interval=[0.0, 0.04]),
            row("image blanked", auc=1.0, auc_interval=[0.9, 1.0]),
            row("border only", auc=1.0, auc_interval=[0.9, 1.0]),
            row("border only", policy="visible", auc=0.8, auc_interval=[0.7, 0.9]),
        ],
    }
    found = [(f.check, f.severity) for f in model_findings(results)]
    assert found == [
        ("model: names exchanged between files (masked)", "high"),
        ("model: name blanked (masked)", "medium"),
        ("model: JPEG q95 and back (masked)", "medium"),
        ("model: burned-in marks removed (masked)", "high"),
        ("model: image blanked (masked)", "high"),
        ("model: border only (visible)", "medium"),
    ]


def test_errors_for_unusable_models(models, dataset, report, tmp_path):
    with pytest.raises(InputError) as refused:
        check_model(str(tmp_path / "none"), dataset, report.observations)
    assert str(refused.value) == (
        f"--model={tmp_path}/none: no such directory; give saved_models/NAME[/VERSION]"
    )
    other = noise_dataset(4, classes=("cat", "dog"))
    with pytest.raises(InputError) as refused:
        check_model(models["fixed"], other, ())
    assert str(refused.value) == (
        f"--model={models['fixed']}: its classes are negative, positive, but those of "
        f"{other.name} are cat, dog"
    )
    with pytest.raises(InputError, match="needs at least 2 readable test images"):
        check_model(models["fixed"], dataset, ())
