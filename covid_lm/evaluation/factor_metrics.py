"""Accuracy and AUC of the groups of each factor, such as scanner, sex and age band."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from covid_lm.data.factors import factor_columns, factor_levels
from covid_lm.data.records import ImageRecord
from covid_lm.data.splits import patient_groups
from covid_lm.evaluation.metrics import classification_metrics

MIN_PATIENTS = 10  # of a group with figures
MAX_FACTORS = 40  # with figures
_COUNTS = ("n", "num_patients", "correct")
_FIGURES = ("accuracy", "accuracy_low", "accuracy_high", "auc", "auc_low", "auc_high")


def factor_metrics(
    probabilities: np.ndarray, records: Sequence[ImageRecord], classes: Sequence[str]
) -> dict[str, dict]:
    """Compute the figures of each group, the images with the same level of a factor.

    Args:
        probabilities: float [n, classes], of the records in their order.

    Returns:
        For each factor either `left_out`, the reason why it has no groups, or `groups`, a list of
        dicts with `level` (None where the value is missing) and either `n`, `num_patients`,
        `correct`, `accuracy`, `ci95`, `auc` and so on, as `classification_metrics`, or
        `suppressed`: it has fewer than `MIN_PATIENTS` patients, or images if no patient is known.
    """
    labels = np.array([record.label for record in records])
    patients = [record.patient for record in records]
    unit = "patients" if any(patients) else "images"

    def figures(rows: np.ndarray) -> dict:
        own = [patients[row] for row in rows]
        if len({*patient_groups(own)}) < MIN_PATIENTS:
            return {"suppressed": f"fewer than {MIN_PATIENTS} {unit}"}
        metrics = classification_metrics(probabilities[rows], labels[rows], classes, own)
        measures = ("accuracy", "ci95", "ci95_method", "auc", "auc_ci95", "auc_ci95_method")
        return {key: metrics[key] for key in (*_COUNTS, *measures)}

    found: dict[str, dict] = {}
    for name, values in factor_columns(records).items():
        groups, problem = _groups(values, name)
        if not problem and sum("groups" in factor for factor in found.values()) == MAX_FACTORS:
            problem = f"more than {MAX_FACTORS} factors"
        rows = [{"level": level, **figures(rows)} for level, rows in groups if not problem]
        found[name] = {"left_out": problem} if problem else {"groups": rows}
    return found


def _groups(values: Sequence[str], name: str) -> tuple[list[tuple[str | None, np.ndarray]], str]:
    """Level and rows of each group, the missing values last; or why the factor is left out."""
    levels = factor_levels(values, name)
    if levels is None:
        return [], f"{len({*values})} different values"
    names = [*enumerate(levels.levels), (-1, None)]
    groups = [(level, np.flatnonzero(levels.codes == code)) for code, level in names]
    groups = [(level, rows) for level, rows in groups if len(rows)]
    if len(groups) > 1:
        return groups, ""
    return [], "the same value for all images" if levels.levels else "no value"


def factor_table(factors: Mapping[str, dict]) -> pd.DataFrame:
    """The groups of `factor_metrics` as a table, a row for each.

    Returns:
        Columns `factor`, `level`, `n`, `num_patients`, `correct`, `accuracy` and `auc` with the
        ends of their 95% intervals (`accuracy_low` and so on), and `note`, the reason why there are
        no figures, else "". A factor without groups has one row.
    """
    rows = []
    for name, factor in factors.items():
        for group in factor.get("groups", [{"suppressed": factor.get("left_out")}]):
            ends = {
                f"{measure}_{end}": value
                for measure, key in (("accuracy", "ci95"), ("auc", "auc_ci95"))
                for end, value in zip(("low", "high"), group.get(key) or (), strict=False)
            }
            rows.append({"factor": name, **group, **ends, "note": group.get("suppressed", "")})
    columns = ("factor", "level", *_COUNTS, *_FIGURES, "note")
    types = {**dict.fromkeys(_COUNTS, "Int64"), **dict.fromkeys(_FIGURES, float)}
    return pd.DataFrame(rows, columns=columns).astype(types)
