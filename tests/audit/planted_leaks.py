"""The check that must detect each kind of leak that a phantom can have."""

from collections.abc import Sequence

from covid_lm.auditing.findings import Finding

EXPECTED_CHECKS = {
    "name_length": "name_length",
    "name_word": "name_characters",
    "container_bytes": "container_bytes",
    "metadata": "metadata",
    "mode": "mode",
    "border_mark": "border",
    "duplicate_across_split": "duplicates_across_splits",
    "patient_across_split": "patients_across_splits",
    "name_class": "name_length",  # the characters tell the class, too
}


def expected_finding(findings: Sequence[Finding], leak: str) -> Finding | None:
    """The finding of the check that must detect this kind of leak."""
    return next((f for f in findings if f.check == EXPECTED_CHECKS[leak]), None)
