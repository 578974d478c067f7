"""A report that several tests of the audit read."""

from collections.abc import Iterator

import pytest
import threadpoolctl

from covid_lm.auditing.data_audit import AuditReport, audit_dataset
from tests.audit.synthetic import noise_dataset


@pytest.fixture(scope="package", autouse=True)
def one_thread() -> Iterator[None]:
    """Limits linear algebra to one thread, as in an audit: small products wait for the others."""
    with threadpoolctl.threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def noise_report() -> AuditReport:
    """The audit of 60 images of noise, in which nothing predicts the label."""
    return audit_dataset(noise_dataset(), permutations=99)
