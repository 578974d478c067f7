"""How large a leak must be to be found: leaks planted in a share of the phantom's files."""

from collections.abc import Sequence

import tqdm

from covid_lm.audit.data_audit import audit_dataset
from covid_lm.audit.findings import Finding
from covid_lm.data.phantom.dataset import LEAKS, phantom

SHARES = (0.05, 0.1, 0.2, 0.5)
# The check that answers for each kind of planted leak.
EXPECTED_CHECKS = {
    "name_length": "name_length",
    "name_word": "name_characters",
    "container_bytes": "container_bytes",
    "metadata": "metadata",
    "mode": "mode",
    "border_mark": "border",
    "duplicate_across_split": "duplicates_across_splits",
    "patient_across_split": "patients_across_splits",
}


def found_severities(leak: str, share: float, seeds: Sequence[int]) -> list[str | None]:
    """For each seed, how severe the expected check calls the leak; None where it finds nothing."""
    severities = []
    for seed in seeds:
        report = audit_dataset(phantom(seed=seed, leak=leak, leak_share=share))
        finding = expected_finding(report.findings, leak)
        severities.append(finding.severity if finding else None)
    return severities


def expected_finding(findings: Sequence[Finding], leak: str) -> Finding | None:
    """The finding of the check that answers for this kind of leak."""
    return next((f for f in findings if f.check == EXPECTED_CHECKS[leak]), None)


def detection_curve(num_seeds: int, progress: bool = False) -> str:
    """A Markdown table: in how many phantoms of 400 images each leak was found, by its share.

    A cell reads "found / called high", of `num_seeds` each.

    Args:
        num_seeds: phantoms for each kind and share, with seeds from 0 on.
        progress: whether to show a bar on standard error.
    """
    header = "| leak | check | " + " | ".join(f"{share:.0%} of files" for share in SHARES) + " |"
    lines = [header, "|---" * (2 + len(SHARES)) + "|"]
    bar = tqdm.tqdm(total=len(LEAKS) * len(SHARES), unit="cell", disable=not progress)
    for leak in LEAKS:
        cells = []
        for share in SHARES:
            severities = found_severities(leak, share, range(num_seeds))
            found = sum(severity is not None for severity in severities)
            cells.append(f"{found} / {severities.count('high')}")
            bar.update()
        lines.append(f"| {leak} | {EXPECTED_CHECKS[leak]} | {' | '.join(cells)} |")
    bar.close()
    return "\n".join(lines)
