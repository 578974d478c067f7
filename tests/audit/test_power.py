"""Weak leaks of small scans: how many of ten seeds find a leak, as in the audit's README."""

import re

import pytest

from covid_lm.auditing.checks import CHECKS
from covid_lm.auditing.data_audit import audit_dataset
from covid_lm.data.phantom.dataset import phantom
from tests.audit.planted_leaks import expected_finding
from tests.audit.scans import LEAKS, Scans
from tests.conftest import REPOSITORY

README = REPOSITORY / "covid_lm" / "auditing" / "README.md"
SEEDS = range(10)
# Number of images, share of one class with the leak, and the leaks.
SIZES = {
    "400": (400, 0.1, tuple(LEAKS)),
    "2,000": (2000, 0.05, ("container_bytes", "mode", "border_mark")),
    "10,000": (10000, 0.02, ("container_bytes", "mode", "border_mark")),
}


@pytest.fixture(scope="module")
def scans() -> Scans:
    return Scans(96, 0)


@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_in_one_class_is_found_and_a_clean_set_is_silent(leak, scans):
    check = LEAKS[leak][0]
    result = scans.probe(check, scans.planted(leak, 1.0))
    assert result.p_value < 0.001
    assert abs(result.markers[0].class_shares[1] - result.markers[0].class_shares[0]) > 0.3
    clean = scans.probe(check, scans.clean)
    assert clean is None or clean.p_value > 0.05


def readme_row(images: str, share: float) -> dict[str, int]:
    """Seeds of the README's row in which each leak is found."""
    rows = re.findall(
        r"^\| `(\w+)` \| ([\d,]+) \| (\d+)% \| (\d+)/10 \|$", README.read_text(), re.M
    )
    return {leak: int(n) for leak, i, s, n in rows if (i, int(s)) == (images, round(100 * share))}


@pytest.mark.parametrize("images", SIZES)
def test_the_readme_has_every_leak(images):
    _, share, leaks = SIZES[images]
    found = readme_row(images, share)
    assert found.keys() == {*leaks}
    assert min(found[leak] for leak in ("container_bytes", "mode", "border_mark")) >= 9


@pytest.mark.slow
@pytest.mark.parametrize("images", SIZES)
def test_power_is_that_of_the_readme(images):
    count, share, leaks = SIZES[images]
    found = dict.fromkeys(leaks, 0)
    for seed in SEEDS:
        settings = {} if count == 400 else {"size": (48, 56), "features": "few"}
        scans = Scans(count, seed, **settings)
        for leak in leaks:
            found[leak] += scans.finds(LEAKS[leak][0], scans.planted(leak, share))
    assert found == readme_row(images, share)


@pytest.mark.slow
@pytest.mark.parametrize("leak", ["container_bytes", "mode", "border_mark"])
def test_an_audit_finds_a_leak_in_a_tenth_of_the_positive_phantoms(leak, slices_drawn_once):
    reports = [audit_dataset(phantom(seed=seed, leak=leak, leak_share=0.1)) for seed in SEEDS]
    assert sum(expected_finding(r.findings, leak) is not None for r in reports) == len(SEEDS)


@pytest.mark.slow
def test_silence_of_scans_without_a_leak():
    findings = [
        (seed, check.name)
        for seed in range(40)
        for scans in [Scans(400, seed)]
        for check in CHECKS
        if scans.finds(check.name, scans.clean)
    ]
    assert len(findings) <= 2
