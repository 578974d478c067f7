"""Pre-training on two devices gives the results of one."""

import json

import numpy as np
import pytest

from tests.test_global_equality import run_python

pytestmark = pytest.mark.slow  # half a minute of other processes


def run_curves(*names: str) -> dict:
    return json.loads(
        run_python("-m", "tests.training.pretraining_curves", *names).splitlines()[-1]
    )


@pytest.fixture(scope="module")
def results() -> dict:
    return run_curves("one", "two")


def test_the_loss_curve_is_the_same(results):
    one = results["one"]["losses"]
    assert len(one) == 12
    assert max(one) - min(one) > 0.05  # a curve, and not a constant
    np.testing.assert_allclose(results["two"]["losses"], one, rtol=0, atol=1e-5)


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_masked_token_counts_once(results, split):
    """Their means over 26 and 7 sequences, of which neither fills its last batch."""
    for one, two in zip(results["one"]["epochs"], results["two"]["epochs"], strict=True):
        # Perplexity is the loss's exponential: relative to its size.
        assert two[split] == pytest.approx(one[split], rel=1e-5, abs=1e-5)


def test_a_resumed_run_with_dropout_equals_an_uninterrupted_one(results):
    at_once, in_two_calls = run_curves("two_dropout", "two_dropout_in_two_calls").values()
    assert at_once["losses"] == in_two_calls["losses"]
    assert at_once["epochs"] == in_two_calls["epochs"]
    assert np.abs(np.subtract(at_once["losses"], results["two"]["losses"])).max() > 1e-3
