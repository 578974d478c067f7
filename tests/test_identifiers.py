"""No name or identifier of a patient in any file that a run, an audit and an export leave."""

import os
import pathlib
import re

import numpy as np
import pytest

from covid_lm.auditing.command import run_audit
from covid_lm.auditing.repair.repair_options import RepairOptions
from covid_lm.data import load_dataset
from covid_lm.data.reading import Reading
from covid_lm.evaluation_run import evaluate_run
from covid_lm.export import export_run
from covid_lm.training.options import TrainingOptions
from covid_lm.training_run import train
from tests.conftest import exports_not_compared
from tests.data.dicom_files import write_dicom

SURNAMES = (
    *("Ahlgren", "Bouvier", "Czerny", "Dvorak", "Eriksen", "Ferrara", "Grimaldi", "Horvat"),
    *("Ibsen", "Jansson", "Kovacs", "Lindqvist"),
)
PLANTED = re.compile("|".join([*SURNAMES, "jane", r"mrn-?55\d\d"]).encode(), re.IGNORECASE)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> str:
    """A table of DICOM files, with patients in tags, in columns and in names of files."""
    root = tmp_path_factory.mktemp("scans")
    generator = np.random.default_rng(0)
    rows = ["path,label,patient_name,subject,note,sex,seen by"]
    for number, surname in enumerate(SURNAMES):
        for image in range(3):
            level = (-500, 0)[number % 2]  # within the window
            name = f"{surname.upper()}-Jane/{image}_mrn55{number:02}.dcm"
            write_dicom(
                root / name,
                generator.integers(level - 99, level + 99, (20, 24)).astype(np.int16),
                PatientName=f"{surname}^Jane",
                PatientID=f"MRN-55{number:02}",
                RescaleSlope=1,
                RescaleIntercept=0,
            )
            label = ("well", "sick")[number % 2]
            who = f"{surname} Jane,MRN-55{number:02},seen {surname} again"
            # The last factor has two levels, of which one is a patient's name.
            rows.append(f"{name},{label},{who},{'FM'[number // 10]},{SURNAMES[number // 11]}")
    (root / "labels.csv").write_text("\n".join(rows))
    return str(root / "labels.csv")


@pytest.mark.parametrize("checks_model", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_no_file_of_a_run_an_audit_or_an_export_names_a_patient(
    table, tmp_path, capfd, checks_model
):
    options = TrainingOptions(
        dataset="table",
        data_dir=table,
        window="lung",
        layout="gray22",
        backbone="1x64",
        epochs=1,
        batch_size=8,
        name="run",
        output_dir=str(tmp_path / "saved_models"),
    )
    with exports_not_compared():
        result = train(options)
    model = result.model_dir if checks_model else None
    repair = RepairOptions(
        *(str(tmp_path / name) for name in ("new.csv", "copy")), names=str(tmp_path / "old.csv")
    )
    run_audit(
        "table",
        table,
        model,
        str(tmp_path / "audit"),
        reading=Reading(window="lung"),
        repair=repair,
    )
    output, record = (str(tmp_path / name) for name in ("all.json", "record.json"))
    data = load_dataset("table", table, Reading(window="lung"))
    metrics = evaluate_run(result.model_dir, data, None, "all", output=output, record=record)
    groups = {name: factor.get("groups") for name, factor in metrics["factors"].items()}
    assert [group["level"] for group in groups["seen by"]] == ["patient-01", "patient-02"]
    assert [group.get("num_patients") for group in groups["sex"]] == [10, None]
    metrics.factors.to_csv(tmp_path / "factors.csv")
    metrics.predictions.to_csv(tmp_path / "predictions.csv")
    if checks_model:
        export_run(result.model_dir)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    names = {path.name for path in written}
    assert {"splits.csv", "report.html", "audit.html", "tf_serving_warmup_requests"} <= names
    assert {"new.csv", "LABELS.csv", "old.csv", "01.png", "32.png"} <= names
    assert [path for path in written if PLANTED.search(os.fsencode(path.name))] == []
    assert [path for path in written if PLANTED.search(path.read_bytes())] == []
    output, messages = capfd.readouterr()
    assert not PLANTED.search((output + messages).encode())
    assert " of 7 patients" in output
    assert PLANTED.search(pathlib.Path(table).read_bytes())
