"""The README's result tables are those that its records give."""

import pytest

from covid_lm.evaluation.paper_tables import table_1
from covid_lm.evaluation.results import (
    BEGIN,
    END,
    commands_list,
    comparisons_table,
    read_records,
    results_table,
)
from tests.conftest import REPOSITORY

RECORDS = read_records(str(REPOSITORY / "saved_models" / "records"))
COVID_CT = [record for record in RECORDS if record["dataset"] == "covid_ct"]


@pytest.mark.parametrize(
    ("key", "table"),
    [
        ("covid_ct", results_table(COVID_CT)),
        ("covid_ct commands", commands_list(COVID_CT)),
        ("mcnemar", comparisons_table(COVID_CT, "minilm-fixed-0")),
        ("table 1", table_1(RECORDS)),
    ],
)
def test_tables(key, table):
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    _, _, rest = text.partition(f"{BEGIN.format(key)}\n")
    assert rest.partition(f"\n{END}")[0] == table


def test_records_name_no_place_of_a_machine():
    for record in RECORDS:
        assert "/" not in record["command"].replace("tools/train.py", "")
        assert len(record["hits"]) == next(iter(record["protocols"].values()))["n"]
