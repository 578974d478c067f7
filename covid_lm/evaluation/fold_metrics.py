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
        results: of the finished folds, in their order.
        records: all images, which the results' rows index.
        classes: names of the labels.

    Returns:
        `epochs`: for each epoch a dict of the pooled figures, with intervals over patients;
        `by_fold`: such a list for each fold; `out_of_fold`: for each image a dict of `file`,
        `label`, `fold` (from 1) and `probabilities` [epochs, classes].
    """
    rows = np.concatenate([result.rows for result in results])
    pooled = np.concatenate([result.probabilities for result in results], axis=1)
    fold_of = np.repeat(np.arange(len(results)) + 1, [len(result.rows) for result in results])
    return {
        "epochs": _by_epoch(pooled, [records[row] for row in rows], classes),
        "by_fold": [
            [
                {**figures, "training_loss": loss}
                for figures, loss in zip(
                    _by_epoch(r.probabilities, [records[row] for row in r.rows], classes),
                    r.losses,
                    strict=True,
                )
            ]
            for r in results
        ],
        "out_of_fold": [
            {
                "file": records[row].filename,
                "label": classes[records[row].label],
                "fold": int(fold_of[place]),
                "probabilities": pooled[:, place].astype(float).round(6).tolist(),
            }
            for place, row in enumerate(rows)
        ],
    }


def _by_epoch(
    probabilities: np.ndarray, records: Sequence[ImageRecord], classes: Sequence[str]
) -> list[dict]:
    labels = np.array([record.label for record in records])
    patients = [record.patient for record in records]
    groups = None
    if any(patient is not None for patient in patients):
        # An image of an unknown patient is a group of its own, as it is in the folds.
        groups = [str(number) for number in patient_groups(patients)]
    rows = []
    for epoch, predictions in enumerate(probabilities, 1):
        figures = classification_metrics(predictions, labels, classes, groups)
        loss = float(log_loss(labels, predictions, labels=range(len(classes))))
        rows.append({"epoch": epoch, **{key: figures[key] for key in _FIGURES}, "log_loss": loss})
    return rows
