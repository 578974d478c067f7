"""One evaluated classifier for all tests of the report, and integrals of two points.

How exact the integrals are has tests of its own, in `tests/evaluation`.
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


@pytest.fixture(scope="package")
def two_classes() -> Evaluated:
    return evaluated()
