"""Predictions of an evaluation as a table, with what is known of each image."""

import pandas as pd

from covid_lm.data.factors import factor_columns
from covid_lm.data.records import ImageDataset
from covid_lm.evaluation.protocol_metrics import Evaluation
from covid_lm.files import write_text


def prediction_table(evaluation: Evaluation, dataset: ImageDataset) -> pd.DataFrame:
    """A row for each protocol and image.

    Returns:
        Columns `protocol`, `path` (below the location of the data set), `patient` (its number, ""
        if unknown), `split`, `label`, `predicted`, `p(CLASS)` for each class, and one for each
        factor. A factor with the name of another column is called "NAME (factor)".
    """
    records, classes = evaluation.records, dataset.classes
    images = pd.DataFrame(
        {
            "path": [dataset.path_below(record) for record in records],
            "patient": [record.patient or "" for record in records],
            "split": [record.split for record in records],
            "label": [classes[record.label] for record in records],
        }
    )
    probability_columns = [f"p({name})" for name in classes]
    taken = {"protocol", *images.columns, "predicted", *probability_columns}
    factors = pd.DataFrame(
        {
            f"{name} (factor)" if name in taken else name: values
            for name, values in factor_columns(records).items()
        },
        index=images.index,
    )
    parts = {}
    for protocol, probabilities in evaluation.predictions.items():
        predicted = [classes[answer] for answer in probabilities.argmax(axis=1)]
        answers = pd.DataFrame(probabilities, columns=probability_columns)
        parts[protocol] = pd.concat([images.assign(predicted=predicted), answers, factors], axis=1)
    return pd.concat(parts, names=["protocol"]).reset_index("protocol").reset_index(drop=True)


def write_predictions(path: str, evaluation: Evaluation, dataset: ImageDataset) -> None:
    """Writes the `prediction_table` as CSV."""
    table = prediction_table(evaluation, dataset)
    write_text(path, table.to_csv(index=False, float_format="%.6f"))
