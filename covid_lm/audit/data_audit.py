"""The audit of a data set: every file read once, every check run, findings by severity."""

import collections
import concurrent.futures
import dataclasses

import numpy as np
import threadpoolctl
import tqdm

from covid_lm.audit.checks import CHECKS, Check
from covid_lm.audit.data_findings import structure_findings
from covid_lm.audit.duplicates import DuplicatePair, chain, connected_groups, find_duplicates
from covid_lm.audit.features.observations import Observation, Unreadable, observe_all
from covid_lm.audit.findings import Finding, probe_findings, ranked
from covid_lm.audit.probes import PERMUTATIONS, Labels, ProbeResult, run_probe
from covid_lm.audit.splits import has_own_test_split
from covid_lm.data.records import ImageDataset
from covid_lm.data.splits import SplitSummary, split_summaries
from covid_lm.errors import InputError

MIN_GROUPS = 8
_THREADS = 2


@dataclasses.dataclass(frozen=True)
class ProbeRow:
    """One check's probe: its result, None where the feature is the same for every file."""

    check: Check
    result: ProbeResult | None
    adjusted_p_value: float | None


@dataclasses.dataclass(frozen=True)
class AuditReport:
    """Everything that the audit saw.

    Attributes:
        dataset, classes: their names.
        observations, unreadable: what was read, and what could not be.
        splits: files, classes and patients of each split.
        duplicates: pairs of indices into `observations`.
        probes: one row a check, none where there were too few images to probe.
        not_probed: why some or all images were left out of the probes, empty if none were.
        findings: by severity.
        model: results of the model checks, by name; empty without a model.
    """

    dataset: str
    classes: tuple[str, ...]
    observations: tuple[Observation, ...]
    unreadable: tuple[Unreadable, ...]
    splits: tuple[SplitSummary, ...]
    duplicates: tuple[DuplicatePair, ...]
    probes: tuple[ProbeRow, ...]
    not_probed: str
    findings: tuple[Finding, ...]
    model: dict = dataclasses.field(default_factory=dict)

    @property
    def probes_run(self) -> int:
        """How many tests the p-values are corrected for."""
        return sum(row.result is not None for row in self.probes)

    def with_model(self, results: dict, findings: list[Finding]) -> "AuditReport":
        """The report with the model checks' results, its findings sorted in."""
        merged = tuple(ranked([*self.findings, *findings]))
        return dataclasses.replace(self, model=results, findings=merged)


def audit_dataset(
    dataset: ImageDataset,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
    progress: bool = False,
) -> AuditReport:
    """Audits every file of every split.

    Files of one patient, and duplicates of each other, are kept on one side of every fold and
    drawn together in every bootstrap and permutation.

    Args:
        dataset: labelled records; two classes or more.
        seed: of folds, permutations and bootstraps; equal seeds give equal reports.
        permutations: at most, per probe.
        progress: whether to show a bar on standard error.

    Raises:
        InputError: fewer than two classes, or no file that can be decoded.
    """
    if len(dataset.classes) < 2:
        raise InputError(f"{dataset.name}: one class only; there is no label to tell")
    seen, unreadable = observe_all(dataset.records, progress)
    if not seen:
        raise InputError(
            f"{unreadable[0].record.path}: can't be decoded ({unreadable[0].reason}), "
            "nor can any other file"
        )
    pairs = find_duplicates(seen)
    groups = independent_groups(seen, pairs)
    probed, not_probed = _choose_probed(seen, groups, dataset.classes)
    rows, findings = _probe(
        [seen[i] for i in probed], groups[probed], dataset.classes, seed, permutations, progress
    )
    summaries = split_summaries([o.record for o in seen], len(dataset.classes))
    own_test = has_own_test_split(dataset.name, dataset.records)
    structure = structure_findings(seen, unreadable, pairs, summaries, dataset.classes, own_test)
    return AuditReport(
        dataset=dataset.name,
        classes=dataset.classes,
        observations=tuple(seen),
        unreadable=tuple(unreadable),
        splits=tuple(summaries),
        duplicates=tuple(pairs),
        probes=tuple(rows),
        not_probed=not_probed,
        findings=tuple(ranked([*structure, *findings])),
    )


def independent_groups(seen: list[Observation], pairs: list[DuplicatePair]) -> np.ndarray:
    """Which files aren't independent, int [n], 0 to the number of groups - 1."""
    members = collections.defaultdict(list)
    for index, observation in enumerate(seen):
        if observation.record.patient is not None:
            members[observation.record.patient].append(index)
    links = [link for files in members.values() for link in chain(files)]
    links += [(pair.first, pair.second) for pair in pairs]
    return np.unique(connected_groups(len(seen), links), return_inverse=True)[1]


def _choose_probed(
    seen: list[Observation], groups: np.ndarray, classes: tuple[str, ...]
) -> tuple[np.ndarray, str]:
    """Indices of the files to probe, and why others are left out."""
    labels = np.array([o.record.label for o in seen])
    counts = [len(np.unique(groups[labels == k])) for k in range(len(classes))]
    small = [k for k, count in enumerate(counts) if count < MIN_GROUPS]
    if not small:
        return np.arange(len(seen)), ""
    names = ", ".join(f"{classes[k]} ({counts[k]})" for k in small[:6])
    reason = f"fewer than {MIN_GROUPS} independent images of {names}"
    if len(classes) - len(small) < 2:
        return np.empty(0, int), f"too few images to probe: {reason}"
    return np.flatnonzero(~np.isin(labels, small)), f"left out of the probes: {reason}"


def _probe(
    seen: list[Observation],
    groups: np.ndarray,
    classes: tuple[str, ...],
    seed: int,
    permutations: int,
    progress: bool,
) -> tuple[list[ProbeRow], list[Finding]]:
    if not seen:
        return [], []
    present, labels = np.unique([o.record.label for o in seen], return_inverse=True)
    target = Labels(
        labels=labels,
        groups=np.unique(groups, return_inverse=True)[1],
        is_test=np.array([o.record.split == "test" for o in seen]),
        num_classes=len(present),
        seed=seed,
    )

    def probe(check: Check) -> tuple[Check, ProbeResult | None]:
        return check, run_probe(check.features(seen), target, permutations)

    # Probes side by side, each on one thread: their matrices are too small to be shared out.
    with (
        threadpoolctl.threadpool_limits(1),
        concurrent.futures.ThreadPoolExecutor(_THREADS) as pool,
    ):
        results = list(
            tqdm.tqdm(
                pool.map(probe, CHECKS),
                total=len(CHECKS),
                desc="probing",
                unit="probe",
                disable=not progress,
            )
        )
    probed = [(check, result) for check, result in results if result is not None]
    paths = [o.record.path for o in seen]
    findings, adjusted = probe_findings(probed, [classes[k] for k in present], paths)
    by_name = {check.name: p for (check, _), p in zip(probed, adjusted, strict=True)}
    rows = [ProbeRow(check, result, by_name.get(check.name)) for check, result in results]
    return rows, findings
