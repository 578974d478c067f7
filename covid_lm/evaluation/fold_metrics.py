"""What a cross-validation says of each epoch: figures pooled over the images held out."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from sklearn.metrics import log_loss

from covid_lm.data.records import ImageRecord
from covid_lm.data.splits import patient_names
from covid_lm.evaluation.metrics import classification_metrics

# Of `classification_metrics`, what an epoch is chosen by.
_FIGURES = (
    *("n", "correct", "accuracy", "ci95", "ci95_method", "balanced_accuracy"),
    *("auc", "auc_ci95", "auc_ci95_method", "brier"),
)


@dataclasses.dataclass(frozen=True)
class FoldResult:
    """One fold's answers.

    Attributes:
        rows: int [m], the places of its held-out images.
        probabilities: float32 [epochs, m, classes].
        losses: the training loss of each epoch.
    """

    rows: np.ndarray
    probabilities: np.ndarray
    losses: list[float]


def fold_figures(
    results: Sequence[FoldResult], records: Sequence[ImageRecord], classes: Sequence[str]
) -> dict:
    """What the folds that are done say together, and each for itself.

    Args:
        results: of the folds, the first one first.
        records: all images, of which the results' rows are places.
        classes: names of the labels.

    Returns:
        `epochs`: a dict an epoch, with the figures of the images of all these folds, pooled, and
        their intervals over patients; `by_fold`: for each fold such a list; `out_of_fold`: a dict
        an image, with `file`, `label`, `fold` (from 1) and `probabilities` [epochs, classes].
    """
    rows = np.concatenate([result.rows for result in results])
    pooled = np.concatenate([result.probabilities for result in results], axis=1)
    fold_of = np.concatenate([[n] * len(r.rows) for n, r in enumerate(results, 1)])
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
    known = any(record.patient is not None for record in records)
    rows = []
    for epoch, answers in enumerate(probabilities, 1):
        # An image of an unknown patient is a cluster of its own, as it is in the folds.
        groups = patient_names(records) if known else None
        figures = classification_metrics(answers, labels, classes, groups)
        rows.append(
            {
                "epoch": epoch,
                **{key: figures[key] for key in _FIGURES},
                "log_loss": float(log_loss(labels, answers, labels=range(len(classes)))),
            }
        )
    return rows


def fold_table(report: dict) -> str:
    """The pooled figures of every epoch, as text for a terminal.

    Args:
        report: of `cross_validate`.
    """
    lines = [
        f"{report['dataset']}: {report['folds_done']} of {report['folds']} folds done, "
        f"{report['epochs'][0]['n']} images held out, {report['patients']} patients known",
        "epoch  accuracy [95% CI]      AUC [95% CI]           log loss",
    ]
    for row in report["epochs"]:
        accuracy = _with_interval(row["accuracy"], row["ci95"])
        area = _with_interval(row["auc"], row["auc_ci95"])
        lines.append(f"{row['epoch']:>5}  {accuracy:<21}  {area:<21}  {row['log_loss']:.4f}")
    first = report["epochs"][0]
    lines.append(f"95% CI: accuracy {first['ci95_method']}, AUC {first['auc_ci95_method']}")
    return "\n".join(lines)


def _with_interval(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" + (" [{:.3f}, {:.3f}]".format(*interval) if interval else "")
