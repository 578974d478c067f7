"""A run's model card: Mitchell et al. (2019)'s headings, TRIPOD+AI's items (Collins et al. 2024).

What nobody told the run is "unknown", in those words.
"""

from collections.abc import Sequence

from covid_lm.data.splits import SplitSummary
from covid_lm.models.classifier import Classifier
from covid_lm.report.dataset_facts import UNKNOWN, DatasetFacts, dataset_facts
from covid_lm.report.measures import (
    counts_text,
    figure_text,
    interval_method,
    interval_text,
    warnings,
)


def model_card(
    classifier: Classifier,
    metrics: dict,
    run: dict,
    splits: Sequence[SplitSummary],
) -> str:
    """The card as Markdown.

    Args:
        metrics: what `metrics.json` holds; keys may be missing.
        run: the section `run` of `config.json`.
        splits: files, patients and classes of the data's splits (`audit.splits`).
    """
    facts = dataset_facts(metrics.get("dataset"))
    classes = classifier.config.classes
    sections = {
        "Model details": _model_details(classifier, run),
        "Intended use": _INTENDED_USE,
        "Factors": _FACTORS,
        "Metrics": _metric_lines(metrics),
        "Evaluation data": _evaluation_data(metrics),
        "Training data": _training_data(facts, run, splits, classes),
        "Quantitative analyses": _figures(metrics),
        "Known leaks": _bullets(facts.leaks),
        "Ethical considerations": _ETHICS,
        "Caveats and recommendations": _caveats(classifier, metrics, run),
        "TRIPOD+AI": _table(["item", "topic", "where"], checklist()),
    }
    title = f"# Model card: {_plain(run.get('backbone', UNKNOWN))} on "
    lines = [title + _plain(metrics.get("dataset", UNKNOWN)), "", "**Not a medical device.**"]
    for heading, content in sections.items():
        lines += ["", f"## {heading}", "", *content]
    return "\n".join(lines) + "\n"


def _plain(value: object) -> str:
    """Text that Markdown takes as text, on one line."""
    text = " ".join(str(value).split())
    return "".join(f"\\{c}" if c in "\\`*[]<>|" else c for c in text)


def _bullets(lines: Sequence[str]) -> list[str]:
    return [f"- {line}" for line in lines]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _fields(values: dict[str, object]) -> list[str]:
    return [
        f"- {name}: {UNKNOWN if value in (None, '') else _plain(value)}"
        for name, value in values.items()
    ]


def _model_details(classifier: Classifier, run: dict) -> list[str]:
    config = classifier.config
    tokens = classifier.reads_tokens
    reading = (
        "channel values of the resized image, and what stands for its file name, as the tokens of "
        "one BERT sequence (Shen 2020)"
        if tokens
        else "the pixels of the resized image"
    )
    return _fields(
        {
            "Kind": f"image classifier; output: one probability per class, {len(config.classes)} "
            "classes; the most probable one is the label",
            "Classes": ", ".join(config.classes),
            "Reads (predictors)": reading,
            "File name in training": config.training_policy if tokens else "none",
            "File name in tests": config.test_policy if tokens else "none",
            "Backbone": run.get("backbone"),
            "Parameters": f"{classifier.logits.count_params():,}",
            "Weights at the start": run.get("weights") or "random",
            "Layout": config.layout,
            "Arithmetic": run.get("dtype"),
            "Preparation": "decoded, alpha dropped, resized bilinearly with antialias",
            "Code": "covid_lm, Apache-2.0",
            "Licence of data and of pretrained weights": None,
            "Date": run.get("date"),
            "Command": run.get("command"),
            "Contact": None,
        }
    )


_INTENDED_USE = [
    "- Use: research on what such a classifier reads, and on leaks in data sets.",
    "- Users: those who study or teach machine learning.",
    "- Out of scope: diagnosis, triage, screening, and any decision about a person.",
    "- Healthcare context, target population, place in the pathway of care: unknown.",
    "- Objective: development, with an evaluation on one split; no external validation.",
]
_FACTORS = [
    "- Age, sex, origin, severity, scanner, slice thickness, contrast: unknown.",
    "- Figures by group: unknown, since no group is recorded; fairness was not assessed.",
]
_ETHICS = [
    "- Ethical approval and consent for the images: unknown.",
    "- Patient and public involvement: none in this package; in the data: unknown.",
    "- Harm: a leak taken for skill would miss disease where the leak is absent.",
]


def _metric_lines(metrics: dict) -> list[str]:
    row = next(iter(metrics["protocols"].values()))
    return [
        "- Accuracy and the area under the ROC curve; in `metrics.json` also sensitivity, "
        "specificity, precision, F1, average precision, Brier score and calibration error.",
        f"- 95% intervals: {_plain(interval_method(row))}.",
        "- Decision threshold: the most probable class; none was tuned.",
    ]


def _evaluation_data(metrics: dict) -> list[str]:
    row = next(iter(metrics["protocols"].values()))
    held_out = {
        "test": "no: early stopping looked at the test split",
        "val": "yes: the validation split stopped the training",
        "none": "yes: nothing stopped the training early",
    }
    return _fields(
        {
            "Data": f"{metrics.get('dataset', UNKNOWN)}, {metrics.get('split', UNKNOWN)} split",
            "Images": row.get("n"),
            "Patients": row.get("num_patients"),
            "Left out because not decodable (missing data)": row.get("invalid", row.get("skipped")),
            "Held out": held_out.get(metrics.get("early_stopping", "")),
            "Differs from the training data in": "nothing known but the split",
        }
    )


def _training_data(
    facts: DatasetFacts, run: dict, splits: Sequence[SplitSummary], classes: Sequence[str]
) -> list[str]:
    rows = [
        [
            summary.split,
            str(summary.files),
            UNKNOWN if summary.patients is None else str(summary.patients),
            *map(str, summary.class_counts),
        ]
        for summary in splits
    ]
    stopping = run.get("early_stopping")
    trained = {"val": "train", "test": "train and val", "none": "train and val"}.get(stopping or "")
    fields = {
        "Source": facts.source,
        "Dates": facts.dates,
        "Participants": facts.participants,
        "Outcome": facts.outcome,
        "Split": facts.split,
        "Splits that were trained on": trained,
        "Early stopping looked at": stopping,
        "Sample size": "what the data set holds; no calculation",
        "Class imbalance": "counts as below; no weighting or resampling",
        "Epochs at most": run.get("epochs"),
        "Batch size": run.get("batch_size"),
        "Learning rate": run.get("learning_rate"),
        "Schedule": run.get("schedule"),
        "Augmentation": run.get("augment"),
        "Seed": run.get("seed"),
    }
    counts = _table(["split", "images", "patients", *map(_plain, classes)], rows)
    return [*_fields(fields), "", *(counts if rows else ["Counts by split: unknown."])]


def _figures(metrics: dict) -> list[str]:
    rows = list(metrics["protocols"].items())
    if metrics.get("name_alone"):
        rows.append(("file name alone", metrics["name_alone"]))
    rows += (metrics.get("floors") or {}).items()
    cells = [
        [
            _plain(name),
            row.get("training_policy") or "-",
            row.get("test_policy") or "-",
            counts_text(row),
            figure_text(row.get("accuracy")) + interval_text(row.get("ci95")),
            figure_text(row.get("auc")) + interval_text(row.get("auc_ci95")),
        ]
        for name, row in rows
    ]
    header = ("row", "trained on", "tested on", "right", "accuracy [95%]", "AUC [95%]")
    return _table(header, cells)


def _caveats(classifier: Classifier, metrics: dict, run: dict) -> list[str]:
    lines = [
        *warnings(metrics),
        "One seed, one split, no external data: other seeds and hospitals may differ.",
        "Model updating: none planned. Monitoring in use: none.",
        "Read `tools/audit.py`'s report of the data before any figure here.",
    ]
    if run.get("layout") == "paper" and classifier.reads_tokens:
        lines.append(
            "Of the 32x32 image the top 8 rows of red and about the bottom 7 of blue are read."
        )
    return _bullets(lines)


# Item of TRIPOD+AI, its topic, and the heading under which it is answered; None: nowhere.
TRIPOD_ITEMS = (
    ("1", "title", "Model details"),
    ("2", "abstract", "Quantitative analyses"),
    ("3", "background", "Intended use"),
    ("4", "objectives", "Intended use"),
    ("5", "data", "Training data"),
    ("6", "participants", "Training data"),
    ("7", "data preparation", "Model details"),
    ("8", "outcome", "Training data"),
    ("9", "predictors", "Model details"),
    ("10", "sample size", "Training data"),
    ("11", "missing data", "Evaluation data"),
    ("12", "analytical methods", "Metrics"),
    ("13", "class imbalance", "Training data"),
    ("14", "fairness", "Factors"),
    ("15", "model output", "Model details"),
    ("16", "training versus evaluation", "Evaluation data"),
    ("17", "ethical approval", "Ethical considerations"),
    ("18a", "funding", None),
    ("18b", "conflicts of interest", None),
    ("18c", "protocol", None),
    ("18d", "registration", None),
    ("18e", "data sharing", "Training data"),
    ("18f", "code sharing", "Model details"),
    ("19", "patient and public involvement", "Ethical considerations"),
    ("20", "participants (results)", "Training data"),
    ("21", "model development", "Training data"),
    ("22", "model specification", "Model details"),
    ("23", "model performance", "Quantitative analyses"),
    ("24", "model updating", "Caveats and recommendations"),
    ("25", "interpretation", "Caveats and recommendations"),
    ("26", "limitations", "Caveats and recommendations"),
    ("27", "usability in current care", "Intended use"),
)


def checklist() -> list[list[str]]:
    """Item, topic and heading as rows of text; "unknown" where the card has no answer."""
    return [[item, topic, heading or "unknown"] for item, topic, heading in TRIPOD_ITEMS]
