"""Runs an audit: prints the summary and writes the reports."""

import os
import sys

from covid_lm.auditing.audit_report import html_report, json_report, text_summary
from covid_lm.auditing.baseline import baseline_line, exit_status, new_findings, read_baseline
from covid_lm.auditing.data_audit import AuditReport, audit_dataset
from covid_lm.auditing.model.embeddings import load_embedder
from covid_lm.auditing.repair.repair_options import RepairOptions
from covid_lm.auditing.repair.repairs import with_repairs
from covid_lm.data import load_dataset
from covid_lm.data.reading import Reading, with_window_of
from covid_lm.data.records import ImageDataset
from covid_lm.files import make_directories, write_json, write_text
from covid_lm.serving.versions import resolve_model

NO_REPAIR = RepairOptions()


def run_audit(
    dataset_name: str,
    data_dir: str | None,
    model: str | None = None,
    output: str | None = None,
    fail_on: str = "never",
    seed: int = 0,
    reading: Reading | None = None,
    repair: RepairOptions = NO_REPAIR,
    baseline: str | None = None,
    embedding: str | None = None,
) -> int:
    """Audits a data set, and optionally a model.

    Args:
        dataset_name, data_dir, reading: see `load_dataset`; the default window is the model's.
        model: `saved_models/NAME`, a model to check as well.
        output: folder for `audit.json` and `audit.html`, created if missing.
        fail_on: the least severity of a finding that fails: "high" or "medium"; or "never".
        seed: of folds, permutations, bootstraps and repairs.
        repair: options of repairs.
        baseline: an earlier `audit.json`, whose findings don't fail.
        embedding: a SavedModel with a signature `embed`, `saved_models/NAME[/VERSION]` or its
            folder, by which images are compared.

    Returns:
        The exit status: 3 if a finding on the data set as it is given fails, otherwise 0.

    Raises:
        InputError: the data or the model can't be used.
    """
    if model is not None:
        reading = with_window_of(reading, model)
    known = {} if baseline is None else read_baseline(baseline)
    repair.check(dataset_name, data_dir, reading.image_root if reading else None)
    if embedding is not None:
        resolve_model(embedding, "embedding")  # an error, before any file is read
    dataset = load_dataset(dataset_name, data_dir, reading)
    print("".join(f"{note}\n" for note in dataset.notes), end="")
    progress = sys.stderr.isatty()
    report = audit_and_write(dataset, model, output, seed, progress, repair, embedding)
    print(text_summary(report))
    reports = report_paths(output) if output is not None else ()
    written = [*reports, *filter(None, (repair.split, repair.neutralise, repair.names))]
    if written:
        print(f"\nwritten: {', '.join(written)}")
    if baseline is not None:
        print(baseline_line(report.findings, known))
    return exit_status(new_findings(report.findings, known), fail_on)


def audit_and_write(
    dataset: ImageDataset,
    model: str | None = None,
    output: str | None = None,
    seed: int = 0,
    progress: bool = False,
    repair: RepairOptions = NO_REPAIR,
    embedding: str | None = None,
) -> AuditReport:
    """Audits a data set, and optionally a model, and writes the reports if there is an `output`.

    Args and errors are those of `run_audit`; `progress` shows progress bars on standard error.
    """
    path = None if embedding is None else resolve_model(embedding, "embedding")[1]
    embed = None if path is None else load_embedder(path)  # needs TensorFlow
    report = audit_dataset(dataset, seed, progress=progress, embed=embed)
    if model is not None:
        from covid_lm.auditing.model.model_checks import check_model  # needs TensorFlow

        report = report.with_model(*check_model(model, dataset, report.observations, progress))
    report = with_repairs(report, dataset, repair, seed, progress, embed)
    if output is not None:
        make_directories(output)
        data, page = report_paths(output)
        write_json(data, json_report(report))
        write_text(page, html_report(report))
    return report


def report_paths(output: str) -> tuple[str, str]:
    """Paths of the two reports in a folder."""
    return os.path.join(output, "audit.json"), os.path.join(output, "audit.html")
