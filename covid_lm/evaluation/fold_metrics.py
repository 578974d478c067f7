"""Figures of a cross-validation: each epoch pooled over the held-out images, and each fold."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from sklearn.metrics import log_loss

from covid_lm.data.records import ImageRecord
from covid_lm.data.splits import patient_groups
from covid_lm.evaluation.metrics import classification_metrics

# The metrics that an epoch is chosen by.
_FIGURES = (
    *("n", "correct", "accuracy", "ci95", "ci95_method", "balanced_accuracy"),
    *("auc", "auc_ci95", "auc_ci95_method", "brier"),
)


@dataclasses.dataclass(frozen=True)
class FoldResult:
    """Predictions for one fold.

    Attributes:
        rows: indices of its held-out images, int [m].
        probabilities: float32 [epochs, m, classes].
        losses: the training loss of each epoch.
    """

    rows: np.ndarray
    probabilities: np.ndarray
    losses: list[float]


def fold_figures(
    results: Sequence[FoldResult], records: Sequence[ImageRecord], classes: Sequence[str]
) -> dict:
    """Figures of the finished folds, pooled and for each fold.

    Args:
        records: all images, which the results' rows index.

    Returns:
        `epochs`: for each epoch a dict of the pooled figures, with intervals over patients;
        `by_fold`: such a list for each fold; `out_of_fold`: for each image a dict of `file`,
        `label`, `fold` (from 1) and `probabilities` [epochs, classes].
    """
    rows = np.concatenate([result.rows for result in results])
    probabilities = np.concatenate([result.probabilities for result in results], axis=1)
    by_fold = [_by_epoch(result, records, classes) for result in results]
    for figures, result in zip(by_fold, results, strict=True):
        for epoch, loss in zip(figures, result.losses, strict=True):
            epoch["training_loss"] = loss
    return {
        "epochs": _by_epoch(FoldResult(rows, probabilities, []), records, classes),
        "by_fold": by_fold,
        "out_of_fold": [
            {
                "file": records[row].filename,
                "label": classes[records[row].label],
                "fold": fold,
                "probabilities": result.probabilities[:, place].astype(float).round(6).tolist(),
            }
            for fold, result in enumerate(results, 1)
            for place, row in enumerate(result.rows)
        ],
    }


def repeated_figures(figures: Sequence[dict]) -> dict:
    """Means over several divisions into folds.

    Args:
        figures: of each division, from `fold_figures`.

    Returns:
        `epochs`: for each epoch the mean figures and bounds of the intervals, and the standard
        deviations `accuracy_sd` and `auc_sd` between divisions (0 for one), which are of the same
        images and so smaller than the intervals; `repeats`: `figures` themselves.
    """
    epochs = []
    for rows in zip(*(part["epochs"] for part in figures), strict=True):
        row = {"epoch": rows[0]["epoch"], "n": rows[0]["n"]}
        for key in ("correct", "accuracy", "balanced_accuracy", "auc", "brier", "log_loss"):
            values = [part[key] for part in rows]
            absent = any(value is None for value in values)
            row[key] = None if absent else float(np.mean(values))
            if key in ("accuracy", "auc"):
                row[f"{key}_sd"] = None if absent else float(np.std(values))
                interval = f"{key}_ci95".removeprefix("accuracy_")
                row[interval], row[f"{interval}_method"] = _mean_interval(rows, interval)
        epochs.append(row)
    return {"epochs": epochs, "repeats": list(figures)}


def _mean_interval(rows: Sequence[dict], key: str) -> tuple[list[float] | None, str | None]:
    """The mean bounds of the intervals of several divisions, and the method, if all have it.

    If each division holds out all images, their mean varies over patients nearly as much as one
    of them; if not (`max_folds`), it varies less than these bounds say.
    """
    methods = {row[f"{key}_method"] for row in rows}
    if len(methods) > 1 or None in methods:
        return None, f"mean of {len(rows)} repeats"
    bounds = np.mean([row[key] for row in rows], axis=0).tolist()
    return bounds, f"{methods.pop()}, mean of {len(rows)} repeats"


def _by_epoch(
    result: FoldResult, records: Sequence[ImageRecord], classes: Sequence[str]
) -> list[dict]:
    labels = np.array([records[row].label for row in result.rows])
    patients = [records[row].patient for row in result.rows]
    groups = None
    if any(patient is not None for patient in patients):
        # An image of an unknown patient is a group of its own, as it is in the folds.
        groups = [str(number) for number in patient_groups(patients)]
    rows = []
    for epoch, predictions in enumerate(result.probabilities, 1):
        figures = classification_metrics(predictions, labels, classes, groups)
        loss = float(log_loss(labels, predictions, labels=range(len(classes))))
        rows.append({"epoch": epoch, **{key: figures[key] for key in _FIGURES}, "log_loss": loss})
    return rows
