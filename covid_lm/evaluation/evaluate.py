"""A finished run and its export, evaluated together on a split."""

import os

from covid_lm.classifier_files import load_classifier
from covid_lm.data import load_dataset
from covid_lm.data.tokens import decode_records
from covid_lm.errors import InputError
from covid_lm.evaluation.protocols import evaluate_protocols
from covid_lm.run_directory import write_json
from covid_lm.serving.export import export_difference
from covid_lm.serving.model_path import resolve_model


def evaluate_run(
    model: str,
    dataset_name: str,
    data_dir: str | None,
    split: str = "test",
    skip_invalid: bool = False,
    output: str | None = None,
) -> dict:
    """Metrics by protocol of the run's live model, and how far its export answers otherwise.

    The export serves one metadata policy; the others need the live model of `NAME/run`.

    Args:
        model: `saved_models/NAME[/VERSION]`.
        output: file that receives what is returned, as JSON.

    Raises:
        InputError: no such model or data, other classes than the model's, or an unusable output.
    """
    if output is not None and not os.path.isdir(os.path.dirname(output) or "."):
        raise InputError(f"--output={output}: its folder does not exist")
    model_dir, version_dir = resolve_model(model)
    classifier = load_classifier(os.path.join(model_dir, "run"))
    dataset = load_dataset(dataset_name, data_dir)
    if dataset.classes != classifier.config.classes:
        raise InputError(
            f"--dataset={dataset_name}: its classes are {', '.join(dataset.classes)}, but the "
            f"model's are {', '.join(classifier.config.classes)}"
        )
    records = dataset.split(split)
    if not records:
        raise InputError(f"--split={split}: {dataset_name} has no such images")
    decoded = decode_records(records, classifier.preprocessor().image_input, skip_invalid)
    rows, probabilities = evaluate_protocols(classifier, decoded)
    report = {
        "version": version_dir,
        "dataset": dataset.name,
        "split": split,
        "classes": list(dataset.classes),
        "weights": classifier.config.weights or "random",
        "protocols": rows,
        "export_difference": export_difference(version_dir, decoded.records, probabilities),
    }
    if output is not None:
        write_json(output, report)
    return report
