"""The model card of a run, in Markdown.

Headings follow Mitchell et al. (2019), the checklist TRIPOD+AI (Collins et al. 2024). What the run
doesn't record is "unknown". The text is in `covid_lm/templates/model_card.md`.
"""

from collections.abc import Sequence

from covid_lm.data import EMBEDDED
from covid_lm.data.records import ImageRecord
from covid_lm.data.splits import split_summaries
from covid_lm.html_page import render
from covid_lm.models.classifier import Classifier
from covid_lm.report.measures import (
    PROTOCOL_HEADER,
    caveats,
    interval_method,
    protocol_table,
)


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
        caveats=caveats(metrics),
    )


class _Known(dict):
    """A dict that answers "unknown" for what is missing, None or empty."""

    def __init__(self, values: dict):
        super().__init__({k: v for k, v in values.items() if v not in (None, "")})

    def __missing__(self, key: str) -> str:
        return "unknown"
