"""One evaluated classifier for all tests of the report, and integrals of two points.

The accuracy of the integrals is tested in `tests/evaluation`.
"""

import pytest

from covid_lm.evaluation import attribution as integrated_gradients
from tests.report.evaluated import Evaluated, evaluated


@pytest.fixture(scope="package", autouse=True)
def rough_integrals():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(integrated_gradients, "POINTS", 2)
        patch.setattr(integrated_gradients, "MOST_POINTS", 2)
        yield


@pytest.fixture(scope="session")
def two_classes() -> Evaluated:
    return evaluated()
