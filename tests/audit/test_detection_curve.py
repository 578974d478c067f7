"""Detection by size of the leak: the table in the audit's README, computed again.

A leak is planted in 5, 10, 20 and 50% of the files that it concerns, in three phantoms of 400
images. A cell of the table is "detected / of high severity".
"""

import re

import pytest

from covid_lm.auditing.data_audit import audit_dataset
from covid_lm.data.phantom.dataset import LEAKS, phantom
from tests.audit.planted_leaks import EXPECTED_CHECKS, expected_finding
from tests.conftest import REPOSITORY

README = REPOSITORY / "covid_lm" / "auditing" / "README.md"
SHARES = (0.05, 0.1, 0.2, 0.5)
SEEDS = range(3)


def table_row(leak: str) -> list[str]:
    """The cells of the leak's row in the README."""
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (.*) \|$", README.read_text(), re.MULTILINE)
    cells = {name: (check, row) for name, check, row in rows}
    assert cells[leak][0] == EXPECTED_CHECKS[leak]
    return cells[leak][1].split(" | ")


def test_the_readme_has_a_row_for_every_leak():
    assert [len(table_row(leak)) for leak in LEAKS] == [len(SHARES)] * len(LEAKS)


@pytest.mark.slow
@pytest.mark.parametrize("leak", LEAKS)
def test_the_table_in_the_readme(leak, slices_drawn_once):
    cells = []
    for share in SHARES:
        reports = [audit_dataset(phantom(seed=s, leak=leak, leak_share=share)) for s in SEEDS]
        found = [f for report in reports if (f := expected_finding(report.findings, leak))]
        cells.append(f"{len(found)} / {sum(f.severity == 'high' for f in found)}")
    assert cells == table_row(leak)
