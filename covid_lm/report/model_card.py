"""The model card of a run, in Markdown.

Headings follow Mitchell et al. (2019), the checklist TRIPOD+AI (Collins et al. 2024). What the run
doesn't record is "unknown". The text is in `covid_lm/templates/model_card.md`. It opens with the
metadata that model hubs read, in YAML (huggingface.co/docs/hub/model-cards).
"""

from collections.abc import Sequence

from covid_lm.backbones.weights.hub import repository_of
from covid_lm.data import EMBEDDED
from covid_lm.data.records import ImageRecord
from covid_lm.data.splits import split_summaries
from covid_lm.evaluation.summary import FACTOR_HEADER, left_out_factors
from covid_lm.html_page import render
from covid_lm.models.classifier import Classifier
from covid_lm.report.measures import (
    PROTOCOL_HEADER,
    caveats,
    factor_cells,
    interval_method,
    protocol_table,
)

# Type in a model hub, key in `metrics.json`, and name.
_HUB_METRICS = (("accuracy", "accuracy", "Accuracy"), ("roc_auc", "auc", "AUC"))


def model_card(
    classifier: Classifier, records: Sequence[ImageRecord], metrics: dict, run: dict
) -> str:
    """The card of a trained classifier.

    Args:
        records: all images of the data set, counted by split, patient and class.
        metrics: the content of `metrics.json`; keys may be missing.
        run: the section `run` of `config.json`; keys may be missing.
    """
    config = classifier.config
    own = next(iter(metrics["protocols"].values()))
    return render(
        "model_card.md",
        front_matter=_front_matter(classifier, metrics, run),
        run=_Known(run),
        metrics=_Known(metrics),
        own=_Known({"invalid": metrics.get("skipped"), **own}),
        config=config,
        tokens=classifier.reads_tokens,
        parameters=f"{classifier.logits.count_params():,}",
        weights=run.get("weights") or "random",
        synthetic=metrics.get("dataset") in EMBEDDED,
        splits=split_summaries(records, len(config.classes)),
        method=interval_method(own),
        header=PROTOCOL_HEADER,
        rows=protocol_table(metrics),
        factor_header=FACTOR_HEADER,
        factor_rows=factor_cells(metrics),
        left_out=left_out_factors(metrics.get("factors", {})),
        caveats=caveats(metrics),
    )


def _front_matter(classifier: Classifier, metrics: dict, run: dict) -> dict:
    """The metadata of the card: keys of model hubs, and values of JSON, which is YAML, too."""
    dataset = metrics.get("dataset", "unknown")
    # Weights inherit the terms of the data that they were made from.
    free = dataset in EMBEDDED and not run.get("weights")
    base = repository_of(run.get("weights"))
    bert = ["bert"] if classifier.reads_tokens else []
    name = f"{run.get('backbone', 'unknown')} on {dataset}"
    results = [
        {"type": kind, "name": f"{text}, protocol {protocol}", "value": value}
        for protocol, row in metrics["protocols"].items()
        for kind, key, text in _HUB_METRICS
        if (value := row.get(key)) is not None
    ]
    source = {"name": dataset, "type": dataset, "split": metrics.get("split", "unknown")}
    task = {"type": "image-classification"}
    result = {"task": task, "dataset": source, "metrics": results}
    return {
        "license": "apache-2.0" if free else "unknown",
        "library_name": "tensorflow",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "tensorflow", "saved-model", "covid_lm", *bert],
        "metrics": [kind for kind, _, _ in _HUB_METRICS],
        **({"base_model": base} if base else {}),
        **({"model-index": [{"name": name, "results": [result]}]} if results else {}),
    }


class _Known(dict):
    """A dict that answers "unknown" for what is missing, None or empty."""

    def __init__(self, values: dict):
        super().__init__({k: v for k, v in values.items() if v not in (None, "")})

    def __missing__(self, key: str) -> str:
        return "unknown"
