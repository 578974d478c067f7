"""Python interface: what the tools do, as functions on data sets. `import covid_lm` offers it.

The functions raise `covid_lm.errors.InputError` for unusable arguments or data and
`covid_lm.errors.RunError` for failures while running, each with one line that says what to do.
Options have the names of the tools' flags. TensorFlow is imported by `train`, `evaluate`,
`Predictor`, and by `audit` if there is a model or an embedding.
"""

import os
from typing import TYPE_CHECKING, Any

from covid_lm.api.predictor import Predictor
from covid_lm.api.sources import (
    Model,
    Source,
    as_text,
    import_keras,
    load_dataset,
    model_path,
    named_source,
)
from covid_lm.auditing.repair.repair_options import RepairOptions
from covid_lm.data.reading import NEEDED, with_window_of
from covid_lm.data.records import ImageDataset
from covid_lm.data.splits import refuse_patient_overlap
from covid_lm.errors import InputError
from covid_lm.serving.versions import resolve_model

if TYPE_CHECKING:
    from covid_lm.auditing.data_audit import AuditReport
    from covid_lm.evaluation_run import EvaluationResult
    from covid_lm.training_run import TrainingResult

PATHS = ("output_dir", "weights", "cache_dir")  # among the options of training
__all__ = ["Predictor", "audit", "evaluate", "load_dataset", "train"]


def train(dataset: Source, recipe: str = "paper", **options: Any) -> "TrainingResult":
    """Trains a classifier, evaluates it on the test split, exports it and verifies the export.

    The run is written to `saved_models/NAME`. If it exists unfinished, it is resumed. A table is
    kept there as `run/splits.csv`, by which `tools/train.py` can repeat the run.

    Args:
        dataset: a data set, or anything that `load_dataset` takes.
        recipe: "paper", "pixels" or "named", values for the options that are not given.
        options: those of `tools/train.py --help`, by name, such as `backbone`, `layout`,
            `protocol`, `epochs`, `batch_size`, `seed`, `name` and `output_dir`.

    Returns:
        A result with `model_dir`, `version_dir` (the export), `metrics` (a dict, as
        `run/metrics.json`), `export_difference` and `seconds`.

    Raises:
        InputError: unusable options or data: no training images, an image that can't be decoded
            (unless `skip_invalid`), or a patient in two splits (unless `allow_patient_overlap`).
        RunError: the loss became non-finite, a device is missing, or the export can't be verified.
        TypeError: no such option.

    Examples:
        >>> options = {"backbone": "1x64", "layout": "gray22", "protocol": "absent", "epochs": 1}
        >>> run = covid_lm.train(table, name="first", **options)
        >>> run.metrics["protocols"]["absent"]["auc"]
    """
    from covid_lm.training.options import TrainingOptions
    from covid_lm.training.recipes import RECIPES

    data = _loaded(dataset)
    source = data.flags or {"dataset": "table", "data_dir": data.root or "."}
    paths = {name: as_text(value) for name, value in options.items() if name in PATHS}
    options = {**options, **paths}
    chosen = TrainingOptions(**{**RECIPES.get(recipe, {}), **source, **options, "recipe": recipe})
    refuse_patient_overlap(
        data.records,
        data.name,
        lambda row: data.path_below(data.records[row]),
        chosen.allow_patient_overlap,
    )
    if not data.split("train"):
        raise InputError(f"{data.name}: no training images; it can be evaluated and audited only")
    import_keras()
    from covid_lm import training_run

    return training_run.train(chosen, dataset=data)


def evaluate(
    model: Model,
    dataset: Source,
    split: str = "test",
    *,
    skip_invalid: bool = False,
    output: str | os.PathLike | None = None,
    baselines: bool = False,
    compare: Model | None = None,
    record: str | os.PathLike | None = None,
    cache_dir: str | os.PathLike | None = None,
) -> "EvaluationResult":
    """Evaluates a finished run and its export on a split, under every protocol it can be given.

    Args:
        model: `saved_models/NAME[/VERSION]`, or the result of `train`.
        dataset: a data set with the model's classes, or anything that `load_dataset` takes; the
            window is then that of the model's training run.
        split: "train", "val", "test", or "all" for an external data set.
        skip_invalid: leave out images that can't be decoded, and count them.
        output: file for the metrics, as JSON; the report goes to .html.
        baselines: fit a regression and a forest on the tokens of the training images, too.
        compare: another model, by McNemar's test on the same images.
        record: file for the run's record, for `tools/results.py`.
        cache_dir: folder for decoded pixels, kept for other runs; default: a temporary one.

    Returns:
        The metrics: `protocols` has a dict for each protocol (`n`, `correct`, `accuracy`, `auc`
        and so on), `export_difference` the largest difference of a probability of the export.
        The result is a dict with two tables (`DataFrame`): `factors` has accuracy and AUC of each
        group of a factor, such as a scanner or an age band, with intervals, and `predictions` the
        probabilities of each image with its path, patient, split, label and factors.

    Raises:
        InputError: no such model, other classes than the model's, or no such images.

    Examples:
        >>> metrics = covid_lm.evaluate("saved_models/first", table)
        >>> metrics["protocols"]["absent"]["auc"]
        >>> metrics.factors[["factor", "level", "accuracy", "accuracy_low", "accuracy_high"]]
    """
    if split not in ("train", "val", "test", "all"):
        raise InputError(f"--split={split}: choose one of train, val, test, all")
    path, other = model_path(model), None if compare is None else model_path(compare, "compare")
    data = _loaded(dataset, path)
    import_keras()
    from covid_lm.evaluation_run import evaluate_run

    return evaluate_run(
        path,
        data,
        None,
        split,
        skip_invalid,
        as_text(output),
        baselines,
        other,
        as_text(record),
        cache_dir=as_text(cache_dir),
    )


def audit(
    dataset: Source,
    model: Model | None = None,
    *,
    seed: int = 0,
    output: str | os.PathLike | None = None,
    progress: bool = False,
    split: str | os.PathLike | None = None,
    neutralise: str | os.PathLike | None = None,
    side: int | None = None,
    names: str | os.PathLike | None = None,
    embedding: Model | None = None,
) -> "AuditReport":
    """Checks a data set, and optionally a model, for leakage of the label, and repairs it.

    Args:
        dataset: a data set, or anything that `load_dataset` takes.
        model: `saved_models/NAME`, or the result of `train`, a model to check as well.
        seed: of folds, permutations, bootstraps and repairs.
        output: folder for `audit.json` and `audit.html`, created if missing.
        progress: show progress bars on standard error.
        split: .csv file for a table with new splits.
        neutralise: new folder for a copy whose files differ by their pixels only.
        side: width and height of the copy's images in pixels; by default by the data.
        names: .csv file for a table that maps the copy's files to the originals.
        embedding: a SavedModel with a signature `embed`, its folder or `saved_models/NAME`, or the
            result of `train`; images are compared by its vectors, too.

    Returns:
        The report, which a notebook shows. Its `findings` are sorted by severity; each has
        `severity`, `title`, `summary`, `advice` and `examples` (paths). `findings_table` and
        `probes_table` are data frames, and `repaired` is the audit after the repairs.

    Raises:
        InputError: fewer than two classes, no file that can be decoded, no such model, or an
            output inside the data folder.

    Examples:
        >>> report = covid_lm.audit("IMAGES")
        >>> [(finding.severity, finding.title) for finding in report.findings]
        >>> report.probes_table[["title", "auc", "low", "high"]]
    """
    repair = RepairOptions(as_text(split), as_text(neutralise), side, as_text(names))
    path = None if model is None else model_path(model)
    embedder = None if embedding is None else model_path(embedding, "embedding")
    data = _loaded(dataset, path)
    repair.check(data.name, data.flags.get("data_dir"), data.root or None)
    if path is not None or embedder is not None:
        import_keras()
    from covid_lm.auditing.command import audit_and_write

    return audit_and_write(data, path, as_text(output), seed, progress, repair, embedder)


def _loaded(dataset: Source, model: str | None = None) -> ImageDataset:
    """The data set; if it has to be loaded, with the window of the model's training run."""
    if isinstance(dataset, ImageDataset):
        return dataset
    window = None if model is None else with_window_of(None, resolve_model(model)[0]).window
    takes_window = named_source(dataset)[0] in NEEDED["window"]
    return load_dataset(dataset, **({"window": window} if takes_window else {}))
