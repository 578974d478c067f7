"""Findings that an earlier audit already had, and the exit status of the others."""

from collections.abc import Mapping, Sequence

from covid_lm.auditing.findings import SEVERITIES, Finding
from covid_lm.errors import InputError
from covid_lm.files import read_json

FOUND = 3  # exit status


def read_baseline(path: str) -> dict[str, str]:
    """The severity of each check that has a finding in an `audit.json`.

    Raises:
        InputError: no such file, or not an `audit.json`.
    """
    try:
        findings = read_json(path).get("findings")
    except FileNotFoundError:
        raise InputError(f"--baseline={path}: no such file") from None
    try:
        known = {finding["check"]: finding["severity"] for finding in findings or ()}
    except (TypeError, KeyError):
        known, findings = {}, None
    if not isinstance(findings, list) or not {*known.values()} <= {*SEVERITIES}:
        raise InputError(f"--baseline={path}: not an audit.json of tools/audit.py")
    return known


def new_findings(findings: Sequence[Finding], known: Mapping[str, str]) -> list[Finding]:
    """The findings of checks that had none, or one of lower severity.

    Args:
        known: severity by check, see `read_baseline`.
    """
    return [
        finding
        for finding in findings
        if finding.check not in known
        or SEVERITIES.index(finding.severity) < SEVERITIES.index(known[finding.check])
    ]


def exit_status(findings: Sequence[Finding], fail_on: str) -> int:
    """3 if a finding has the severity `fail_on` ("high", "medium" or "never") or more, else 0."""
    failing = SEVERITIES[: SEVERITIES.index(fail_on) + 1] if fail_on != "never" else ()
    return FOUND if any(finding.severity in failing for finding in findings) else 0


def baseline_line(findings: Sequence[Finding], known: Mapping[str, str]) -> str:
    """One line on the number of known findings and the new ones."""
    new = [f"{f.severity}: {f.title}" for f in new_findings(findings, known)]
    return f"new since the baseline of {len(known)} finding(s): {'; '.join(new) or 'none'}"
