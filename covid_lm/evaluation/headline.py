"""The main result of an evaluation in one sentence, made from its measured figures.

It says whether the model reads the file name, the pixels, or neither, and opens the printed
summary, the report and the model card.
"""

import math
from collections.abc import Sequence

INTERVALS = {"accuracy": "ci95", "auc": "auc_ci95"}
CONDITIONS = {  # test policy to words, in the order of the sentence
    "visible": "with names visible",
    "masked": "with one [MASK] per character",
    "fixed": "with the name held fixed",
}
AREA_BY_CHANCE = 0.5


def headline(rows: dict[str, dict]) -> str:
    """Describe what a model reads, with 95% intervals.

    It reads the file name if its accuracy, or else its AUC, is better with the name, or with the
    length of the name, than with the name held fixed: the intervals don't overlap. Chance is the
    share of the largest class, and an AUC of 0.5; a figure is better if its interval is above it.

    Args:
        rows: row name to `classification_metrics` with `test_policy`; the run's own protocol first.
            Rows of the policies `visible` and `masked` require one of `fixed`.
    """
    by_policy = {row["test_policy"]: row for row in rows.values()}
    own = next(iter(rows.values()))
    share = _largest_class(own)
    learned = any(
        _interval(row, "accuracy")[0] > share or _interval(row, "auc")[0] > AREA_BY_CHANCE
        for row in rows.values()
    )
    shown = {text: by_policy[policy] for policy, text in CONDITIONS.items() if policy in by_policy}
    if len(shown) > 1:
        return _with_and_without_name(shown, share, learned)
    start = "From pixels alone" if learned else "From pixels alone, no better than chance"
    area = f"{_text(own, 'auc')}, " if len(own["confusion"]) == 2 else ""
    return f"{start}: {area}{_text(own, 'accuracy')} correct (chance {share:.1%})."


def _with_and_without_name(shown: dict[str, dict], share: float, learned: bool) -> str:
    *with_name, fixed = shown.values()
    measures = [
        key
        for key in INTERVALS
        if max(_interval(row, key)[0] for row in with_name) > _interval(fixed, key)[1]
    ]
    if measures:
        start = "This model reads the file name"
    elif learned:
        start = "The file name makes no difference that this test can show"
    else:
        start = "No better than chance, with the file name or without"
    measure = "accuracy" if not measures or "accuracy" in measures else "auc"
    figures = [f"{_text(row, measure)} {condition}" for condition, row in shown.items()]
    chance = f"{share:.1%}" if measure == "accuracy" else f"{AREA_BY_CHANCE:.3f}"
    return f"{start}: {', '.join(figures)} (chance {chance})."


def _largest_class(row: dict) -> float:
    """Share of the most frequent class among the row's images."""
    invalid = row["invalid_by_class"]
    counts = [sum(line) + extra for line, extra in zip(row["confusion"], invalid, strict=True)]
    return max(counts) / max(sum(counts), 1)


def _interval(row: dict, measure: str) -> Sequence[float]:
    return row[INTERVALS[measure]] or (-math.inf, math.inf)


def _text(row: dict, measure: str) -> str:
    """A figure with its interval: "62.5% [30.0, 86.0]" or "AUC 0.625 [0.300, 0.860]"."""
    value, interval = row[measure], row[INTERVALS[measure]]
    if measure == "auc":
        known = "unknown" if value is None else f"{value:.3f}"
        return f"AUC {known}" + (" [{:.3f}, {:.3f}]".format(*interval) if interval else "")
    known = "unknown" if value is None else f"{value:.1%}"
    bounds = [f"{100 * bound:.1f}" for bound in interval or ()]
    return known + (f" [{', '.join(bounds)}]" if bounds else "")
