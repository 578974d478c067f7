"""A report that several tests of the audit read."""

import pytest

from covid_lm.auditing.data_audit import AuditReport, audit_dataset
from tests.audit.synthetic import noise_dataset


@pytest.fixture(scope="session")
def noise_report() -> AuditReport:
    """The audit of 60 images of noise, in which nothing predicts the label."""
    return audit_dataset(noise_dataset(), permutations=99)
