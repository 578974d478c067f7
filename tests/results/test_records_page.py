"""The page of results is the one that its records give."""

import re

import pytest

from covid_lm.results.run_records import read_records
from covid_lm.results.tables import BEGIN, END, all_tables, replace_results
from tests.conftest import REPOSITORY

FOLDER = REPOSITORY / "saved_models" / "records"
TABLES = all_tables(str(FOLDER), reference="densenet121-128-0")
RECORDS = [
    record
    for folder in (FOLDER, FOLDER / "cross_validation", FOLDER / "pretraining")
    for record in read_records(str(folder), ("command", "commit"))
]


@pytest.mark.parametrize("key", TABLES)
def test_tables(key):
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    _, _, rest = text.partition(f"{BEGIN.format(key)}\n")
    assert rest.partition(f"\n{END}")[0] == TABLES[key]


def test_every_mark_of_the_page_has_a_table(tmp_path):
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    marks = re.findall(BEGIN.format("(.*)"), text)
    assert sorted(marks) == sorted(TABLES)
    copy = tmp_path / "README.md"
    copy.write_text(text, encoding="utf-8")
    replace_results(str(copy), TABLES)
    assert copy.read_text(encoding="utf-8") == text


def test_records_name_their_commit_and_no_path_of_a_machine():
    for record in RECORDS:
        assert re.fullmatch(r"[0-9a-f]{40}", record["commit"])
        assert "/" not in re.sub("tools/|saved_models/", "", record["command"])


def test_every_image_of_a_split_is_a_hit_or_a_miss():
    for record in read_records(str(FOLDER)):
        row = record["protocols"][record["protocol"]]
        assert (len(record["hits"]), record["hits"].count("1")) == (row["n"], row["correct"])
