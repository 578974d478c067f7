"""The README's result tables are those that its records give."""

import re

import pytest

from covid_lm.results.cross_validation_results import (
    cross_validation_commands,
    cross_validation_table,
)
from covid_lm.results.figures import table_1
from covid_lm.results.pretraining_results import pretraining_commands, pretraining_table
from covid_lm.results.tables import (
    BEGIN,
    END,
    commands_list,
    comparisons_table,
    lesion_table,
    read_json_files,
    read_records,
    results_table,
)
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "saved_models" / "records"
RECORDS = read_records(str(FOLDER))
PRETRAINED = read_json_files(str(FOLDER / "pretraining"))
VALIDATED = read_json_files(str(FOLDER / "cross_validation"))
BY_DATASET = {
    dataset: [record for record in RECORDS if record["dataset"] == dataset]
    for dataset in sorted({record["dataset"] for record in RECORDS})
}


@pytest.mark.parametrize(
    ("key", "table"),
    [
        *((dataset, results_table(records)) for dataset, records in BY_DATASET.items()),
        *((f"{d} commands", commands_list(records)) for d, records in BY_DATASET.items()),
        ("mcnemar", comparisons_table(RECORDS, "honest-average")),
        ("table 1", table_1(RECORDS)),
        *([("lesion place", lesion_table(RECORDS))] if "phantom4000" in BY_DATASET else []),
        ("cross-validation", cross_validation_table(VALIDATED)),
        ("cross-validation commands", cross_validation_commands(VALIDATED)),
        ("pretraining", pretraining_table(PRETRAINED)),
        ("pretraining commands", pretraining_commands(PRETRAINED)),
    ],
)
def test_tables(key, table):
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    _, _, rest = text.partition(f"{BEGIN.format(key)}\n")
    assert rest.partition(f"\n{END}")[0] == table


def test_records_name_no_place_of_a_machine():
    for record in [*RECORDS, *PRETRAINED, *VALIDATED]:
        assert "/" not in re.sub("tools/|saved_models/", "", record["command"])
    for record in RECORDS:
        assert len(record["hits"]) == next(iter(record["protocols"].values()))["n"]
