"""Answers to items of reporting checklists, filled in from what an audit measured.

METRICS: Kocak et al. (2024), Insights into Imaging 15, 8. CLAIM: Tejani et al. (2024), 2024 update,
Radiology: Artificial Intelligence 6 (4), e240300. TRIPOD+AI: Collins et al. (2024), BMJ 385,
e078378. The topics are this module's own short names for the items.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from covid_lm.auditing.data_audit import AuditReport
from covid_lm.auditing.data_findings import balance_p_value
from covid_lm.auditing.features.names import shared_name_sources, shared_patients
from covid_lm.data.factors import FactorLevels, factor_columns, factor_levels
from covid_lm.data.records import ImageRecord

NOT_RECORDED = "not recorded"
MAX_FACTORS = 8  # whose shares are listed
_EQUIPMENT = (
    *("Manufacturer", "ManufacturerModelName", "StationName", "KVP", "ConvolutionKernel"),
    *("SliceThickness", "scanner", "device", "vendor"),
)
_CENTRES = ("InstitutionName", "site", "centre", "center", "hospital", "institution")
_YEARS = ("StudyYear", "year")  # a full date may identify a patient
_Repairs = Sequence[str]


@dataclasses.dataclass(frozen=True)
class Answer:
    """An answer to an item of a checklist.

    Attributes:
        checklist, item: the item, such as "CLAIM" and "20".
        topic: of the item, in a few words.
        answer: what was measured, or `NOT_RECORDED`.
        repaired: the answer after the repairs; "" without repairs.
    """

    checklist: str
    item: str
    topic: str
    answer: str
    repaired: str = ""


def checklist_answers(report: AuditReport) -> list[Answer]:
    """The answers to all items of `ITEMS`, for the data set and, if there is one, the repaired."""
    return [
        Answer(
            checklist,
            item,
            topic,
            answer(report, ()),
            answer(report.repaired, report.repairs) if report.repaired else "",
        )
        for checklist, item, topic, answer in ITEMS
    ]


def _records(report: AuditReport) -> list[ImageRecord]:
    return [observation.record for observation in report.observations]


def _unknown(report: AuditReport, repairs: _Repairs) -> str:
    return NOT_RECORDED


def _counts(values: Iterable[str]) -> str:
    """The values with their numbers, as in "3 PNG, 2 JPEG", the most frequent first."""
    return ", ".join(f"{n} {value}" for value, n in collections.Counter(values).most_common())


def _partition(report: AuditReport, repairs: _Repairs) -> str:
    """Shares of the splits, and how they were made."""
    total = len(report.observations)
    shares = ", ".join(f"{s.split} {s.files} ({s.files / total:.0%})" for s in report.splits)
    drawn = [line for line in repairs if line.startswith("new splits")]
    if drawn:
        return f"{shares}; {drawn[0]}, by a fixed seed"
    if any(finding.check == "no_test_split" for finding in report.findings):
        return f"{shares}; drawn for the audit by a fixed seed, since the data has no test split"
    return f"{shares}; as the data gives them, how they were drawn: {NOT_RECORDED}"


def _disjoint(report: AuditReport, repairs: _Repairs) -> str:
    """Patients, duplicates and sources that splits share."""
    records = _records(report)
    patients = {record.patient for record in records} - {None}
    across = [
        pair
        for pair in report.duplicates
        if records[pair.first].split != records[pair.second].split
    ]
    known = (
        f"{len(shared_patients(records))} of {len(patients)} known patients in several splits"
        if patients
        else f"patients {NOT_RECORDED}"
    )
    return (
        f"{known}; {len(across)} pair(s) of duplicates across splits; "
        f"{len(shared_name_sources(records))} source(s) by file name in several splits"
    )


def _class_shares(report: AuditReport, repairs: _Repairs) -> str:
    shares = []
    for summary in report.splits:
        counts = zip(summary.class_counts, report.classes, strict=True)
        listed = ", ".join(f"{n / summary.files:.0%} {name}" for n, name in counts)
        shares.append(f"{summary.split} {listed}")
    p_value = balance_p_value(report.splits)
    return f"{'; '.join(shares)}; equal shares in all splits: p = {p_value:.2g} (chi-squared)"


def _differences(report: AuditReport, repairs: _Repairs) -> str:
    """Class shares by split, and the factors whose shares differ between the splits."""
    shares = _class_shares(report, repairs)
    if not factor_columns(_records(report)):
        return f"{shares}; setting and patients: {NOT_RECORDED}"
    prefix = "factor_split:"
    found = [f.check.removeprefix(prefix) for f in report.findings if f.check.startswith(prefix)]
    return f"{shares}; factors that differ by more than chance: {', '.join(found) or 'none'}"


def _partitioning(report: AuditReport, repairs: _Repairs) -> str:
    """All parts of METRICS' item on partitioning."""
    parts = (_partition, _disjoint, _class_shares)
    measured = ". ".join(part(report, repairs) for part in parts)
    return f"{measured}. Processing fitted to training images only: {NOT_RECORDED}"


def _preparation(report: AuditReport, repairs: _Repairs) -> str:
    """Formats, modes and sizes of the files, and what a neutral copy changed."""
    seen = report.observations
    widths, heights = [o.width for o in seen], [o.height for o in seen]
    found = (
        f"files: {_counts(o.format for o in seen)}; modes: {_counts(o.mode for o in seen)}; "
        f"{min(widths)} to {max(widths)} pixels wide, {min(heights)} to {max(heights)} high"
    )
    done = [line for line in repairs if line.startswith("neutral copy")]
    return "; ".join([found, *done])


def _identifiers(report: AuditReport, repairs: _Repairs) -> str:
    count = sum(bool(observation.metadata) for observation in report.observations)
    return (
        f"{count} of {len(report.observations)} files have embedded metadata; "
        f"text in the pictures: {NOT_RECORDED}"
    )


def _missing(report: AuditReport, repairs: _Repairs) -> str:
    """Unreadable files, and missing patients and values of factors."""
    records = _records(report)
    counts = {"patient": sum(record.patient is None for record in records)}
    for name, values in factor_columns(records).items():
        found = factor_levels(values, name)
        codes = np.array([bool(value) - 1 for value in values]) if found is None else found.codes
        counts[name] = int(np.sum(codes < 0))
    missing = ", ".join(f"{name} {n}" for name, n in counts.items() if n) or "none"
    return (
        f"{len(report.unreadable)} unreadable file(s), left out; missing values in "
        f"{len(records)} images: {missing}"
    )


def _factor_values(*names: str) -> Callable[[AuditReport, _Repairs], str]:
    """An answer with the values of the factors that have one of the names, in any case."""
    wanted = {name.lower() for name in names}

    def answer(report: AuditReport, repairs: _Repairs) -> str:
        found = []
        for name, values in factor_columns(_records(report)).items():
            if name.lower() in wanted and any(values):
                levels = factor_levels(values, name)
                listed = ", ".join(levels.levels) if levels else f"{len({*values} - {''})} values"
                found.append(f"{name}: {listed}")
        return "; ".join(found) or NOT_RECORDED

    return answer


def _flow(report: AuditReport, repairs: _Repairs) -> str:
    patients = len({record.patient for record in _records(report)} - {None})
    known = f" of {patients} known patients" if patients else ""
    return (
        f"{len(report.observations)} images{known} included, {len(report.unreadable)} unreadable "
        f"file(s) excluded; those before the data was published: {NOT_RECORDED}"
    )


def _characteristics(report: AuditReport, repairs: _Repairs) -> str:
    """Shares of the levels of each factor by split."""
    records = _records(report)
    names = [summary.split for summary in report.splits]
    splits = np.array([record.split for record in records])
    lines = []
    for name, values in factor_columns(records).items():
        found = factor_levels(values, name)
        if found is not None and found.levels:
            lines.append(f"{name} ({' / '.join(names)}): {_level_shares(found, splits, names)}")
    if len(lines) > MAX_FACTORS:
        lines[MAX_FACTORS:] = [f"and {len(lines) - MAX_FACTORS} more"]
    return "; ".join(lines) or NOT_RECORDED


def _level_shares(found: FactorLevels, splits: np.ndarray, names: Sequence[str]) -> str:
    shares = []
    for code, level in enumerate(found.levels):
        by_split = [f"{np.mean(found.codes[splits == name] == code):.0%}" for name in names]
        shares.append(f"{level} {' / '.join(by_split)}")
    return ", ".join(shares)


def _sample(report: AuditReport, repairs: _Repairs) -> str:
    return f"{len(report.observations)} images; how the number was determined: {NOT_RECORDED}"


def _outcome(report: AuditReport, repairs: _Repairs) -> str:
    return f"classes {', '.join(report.classes)}; how they were determined: {NOT_RECORDED}"


_M, _C, _T = "METRICS", "CLAIM", "TRIPOD+AI"
ITEMS: tuple[tuple[str, str, str, Callable[[AuditReport, _Repairs], str]], ...] = (
    (_M, "18", "partitioning of the data", _partitioning),
    (_C, "7", "sources of the data", _factor_values(*_CENTRES)),
    (_C, "8", "inclusion and exclusion criteria", _unknown),
    (_C, "9", "preprocessing", _preparation),
    (_C, "10", "selection of subsets", _unknown),
    (_C, "11", "de-identification", _identifiers),
    (_C, "12", "missing data", _missing),
    (_C, "13", "acquisition of the images", _factor_values(*_EQUIPMENT)),
    (_C, "14-18", "reference standard, annotation", _unknown),
    (_C, "19", "assignment to partitions", _partition),
    (_C, "20", "level at which partitions are disjoint", _disjoint),
    (_C, "21", "sample size", _sample),
    (_C, "35", "images included and excluded", _flow),
    (_C, "36", "characteristics in each partition", _characteristics),
    (_T, "5a", "sources of the data", _factor_values(*_CENTRES)),
    (_T, "5b", "dates of the data", _factor_values(*_YEARS)),
    (_T, "6a", "setting, number of centres", _factor_values(*_CENTRES)),
    (_T, "6b", "eligibility criteria", _unknown),
    (_T, "7", "preparation of the data", _preparation),
    (_T, "8a", "outcome", _outcome),
    (_T, "10", "sample size", _sample),
    (_T, "11", "missing data", _missing),
    (_T, "12a", "use and partitioning of the data", _partition),
    (_T, "13", "class imbalance", _class_shares),
    (_T, "16", "development and evaluation data compared", _differences),
    (_T, "20a", "flow of participants", _flow),
    (_T, "20b", "characteristics of participants", _characteristics),
)
