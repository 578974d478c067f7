"""The model card: headings, figures, and "unknown" for what the run doesn't record."""

import types

import pytest

from covid_lm.models.pixel_classifier import PixelClassifierConfig
from covid_lm.report.model_card import model_card

HEADINGS = [
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Known leaks",
    "Ethical considerations",
    "Caveats and recommendations",
    "TRIPOD+AI",
]


@pytest.fixture(scope="module")
def card(two_classes) -> str:
    return model_card(
        two_classes.classifier, two_classes.images.records, two_classes.metrics, two_classes.run
    )


def test_headings_and_disclaimer(card):
    text = card.split("\n---\n\n", 1)[1]
    start = (
        "# Model card: tiny on covid_ct\n\nIt reads one \\[MASK\\].\n\n**Not a medical device.**\n"
    )
    assert text.startswith(start)
    assert [line[3:] for line in card.splitlines() if line.startswith("## ")] == HEADINGS


def front_matter(card: str) -> dict:
    """The metadata at the start of the card, read as YAML."""
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    opening, content, _ = card.split("---\n", 2)
    assert opening == ""
    return yaml.safe_load(content)


def test_metadata_for_model_hubs(card, two_classes):
    metadata = front_matter(card)
    assert list(metadata) == [
        "license",
        "library_name",
        "pipeline_tag",
        "tags",
        "metrics",
        "model-index",
    ]
    assert metadata["license"] == "unknown"
    assert metadata["tags"][0] == metadata["pipeline_tag"] == "image-classification"
    assert metadata["metrics"] == ["accuracy", "roc_auc"]
    (model,) = metadata["model-index"]
    (result,) = model["results"]
    assert model["name"] == "tiny on covid_ct"
    assert result["dataset"] == {"name": "covid_ct", "type": "covid_ct", "split": "test"}
    rows = two_classes.metrics["protocols"]
    assert [(m["type"], m["name"], m["value"]) for m in result["metrics"]] == [
        line
        for name, row in rows.items()
        for line in (
            ("accuracy", f"Accuracy, protocol {name}", row["accuracy"]),
            ("roc_auc", f"AUC, protocol {name}", row["auc"]),
        )
    ]


def test_a_model_hub_reads_the_metadata(card, two_classes):
    hub = pytest.importorskip("huggingface_hub", reason="needs huggingface_hub")
    data = hub.ModelCard(card).data
    assert (data.license, data.pipeline_tag) == ("unknown", "image-classification")
    assert data.model_name == "tiny on covid_ct"
    assert len(data.eval_results) == 2 * len(two_classes.metrics["protocols"])
    assert data.eval_results[0].metric_type == "accuracy"


def test_licence_and_origin_are_those_of_data_and_weights(two_classes):
    metrics = {**two_classes.metrics, "dataset": "phantom"}
    cards = {
        weights: model_card(two_classes.classifier, [], metrics, {"weights": weights})
        for weights in (None, "/some/weights", "hf://hfl/rbt3@c0ffee")
    }
    assert front_matter(cards[None])["license"] == "apache-2.0"
    assert front_matter(cards["/some/weights"])["license"] == "unknown"
    assert "base_model" not in front_matter(cards["/some/weights"])
    assert front_matter(cards["hf://hfl/rbt3@c0ffee"])["base_model"] == "hfl/rbt3"


def test_figures_with_intervals(card, two_classes):
    row = two_classes.metrics["protocols"]["paper"]
    accuracy = f"{row['accuracy']:.3f} [0.250, 0.750]"
    assert (
        f"| paper | {accuracy} | 0.500 [0.200, 0.800] | {row['correct']}/12 | visible | masked |"
    ) in card
    assert "| name length alone | 1.000 [0.760, 1.000] | 1.000 | 12/12 | - | - |" in card
    assert "- 95% intervals: patient bootstrap, 4 patients." in card


def test_figures_by_factor(card, two_classes):
    assert "- Factors without figures: note (12 different values).\n\n| factor | group |" in card
    cells = "| scanner \\| 1 | A &amp; B | 8 | 2 | 0.750 [0.500, 0.900] | 0.625 [0.250, 0.875] |\n"
    assert f"{cells}| scanner \\| 1 | no value | - | - | fewer than 10 patients | - |\n\n" in card
    without = model_card(two_classes.classifier, [], {"protocols": {"paper": {}}}, {})
    assert "- Results by group: unknown, because no group is recorded" in without
    assert "by group" not in card.replace("- Results by group under the run's own protocol", "")


def test_data_split_and_leaks(card):
    assert (
        "| split | images | patients | &lt;cat&gt; | dog \\| a |\n| --- | --- | --- | --- | --- |\n"
        in card
    )
    assert "| test | 12 | 4 | 6 | 6 |" in card
    assert "The length of the file name tells the class of all 203 test images" in card
    assert "- Held out: no: early stopping used the test split" in card


@pytest.mark.parametrize(
    ("dataset", "leak"),
    [
        ("phantom", "None: the images were drawn without leaks."),
        ("phantom_named", "The file name tells the class of every image, by its letters and by"),
    ],
)
def test_leaks_of_the_phantoms(two_classes, dataset, leak):
    metrics = {**two_classes.metrics, "dataset": dataset}
    card = model_card(two_classes.classifier, [], metrics, two_classes.run)
    assert f"\n## Known leaks\n\n- {leak}" in card


def test_the_unknown_is_called_unknown(two_classes):
    metrics = {"protocols": {"paper": {}}}
    card = model_card(two_classes.classifier, [], metrics, {})
    for field in ("Date", "Contact", "Backbone", "Seed", "Images", "Patients", "Held out"):
        assert f"- {field}: unknown\n" in card
    assert "Counts by split: unknown." in card
    assert "model-index" not in front_matter(card)
    assert "- unknown: run `python tools/audit.py`, which" in card
    assert "| 18a | funding | unknown |" in card


def test_every_item_of_tripod_is_there_once(card):
    rows = [line[2:-2].split(" | ") for line in card[card.index("## TRIPOD") :].splitlines()[4:]]
    assert {section for _, _, section in rows} <= {*HEADINGS, "unknown"}
    items = [item for item, _, _ in rows]
    numbers = [int(item.rstrip("abcdef")) for item in items]
    assert sorted(set(numbers)) == list(range(1, 28))
    assert len(items) == len(set(items))


def test_a_model_without_tokens(two_classes):
    model = two_classes.classifier
    config = PixelClassifierConfig(("a", "b"), "resnet50", 32)
    pixels = types.SimpleNamespace(config=config, reads_tokens=False, logits=model.logits)
    card = model_card(pixels, two_classes.images.records, two_classes.metrics, two_classes.run)
    assert "- Reads (predictors): the pixels of the resized image" in card
    assert "- File name in tests: none" in card
    assert "- Layout: 32x32" in card
    assert "top 8 rows of red" not in card
