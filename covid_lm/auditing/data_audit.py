"""Audit of a data set: reads every file once, runs every check, and ranks the findings."""

import concurrent.futures
import dataclasses
import os

import numpy as np
import pandas as pd
import threadpoolctl
import tqdm
from statsmodels.stats.multitest import multipletests

from covid_lm.auditing.audit_tables import findings_table, notebook_view, probes_table
from covid_lm.auditing.checks import CHECKS
from covid_lm.auditing.data_findings import structure_findings
from covid_lm.auditing.duplicates import DuplicatePair, find_duplicates, independent_groups
from covid_lm.auditing.factor_checks import CLUSTER, factor_checks, factor_split_findings
from covid_lm.auditing.features.observations import Observation, Unreadable, observe_all
from covid_lm.auditing.findings import Finding, ProbeRow, probe_finding, ranked
from covid_lm.auditing.model.embeddings import Embedded, Embedder, embed_images
from covid_lm.auditing.probes import PERMUTATIONS, Labels, run_probe
from covid_lm.data.records import ImageDataset
from covid_lm.data.splits import SplitSummary, class_groups, split_summaries
from covid_lm.errors import InputError

MIN_GROUPS = 8


@dataclasses.dataclass(frozen=True, repr=False)
class AuditReport:
    """Results of an audit.

    Attributes:
        dataset, classes: names of the data set and its classes.
        observations, unreadable: the files that could be decoded, and the others.
        splits: files, classes and patients of each split.
        duplicates: pairs of indices into `observations`.
        probes: one row per check; empty if there were too few images.
        not_probed: the reason why some or all images were not probed; "" if all were.
        findings: sorted by severity.
        embedded: a model's view of the images; None without one.
        model: results of the model checks; empty without a model.
        repairs: a line for each repair that was made.
        repaired: the audit of the repaired data set; None without repairs.
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
    embedded: Embedded | None = None
    model: dict = dataclasses.field(default_factory=dict)
    repairs: tuple[str, ...] = ()
    repaired: "AuditReport | None" = None

    def __repr__(self) -> str:
        titles = ", ".join(f"{finding.severity}: {finding.title}" for finding in self.findings)
        counts = f"{len(self.observations)} images, {len(self.findings)} findings"
        return f"AuditReport({self.dataset!r}, {counts}; {titles or 'none'})"

    def _repr_html_(self) -> str:
        """The view in a notebook."""
        title = f"audit of {self.dataset}: {len(self.observations)} images"
        return notebook_view(title, self.findings, self.probes, self.repaired is not None)

    @property
    def findings_table(self) -> pd.DataFrame:
        """The findings as a data frame, sorted by severity."""
        return findings_table(self.findings)

    @property
    def probes_table(self) -> pd.DataFrame:
        """The figures of all probes as a data frame."""
        return probes_table(self.probes)

    @property
    def probes_run(self) -> int:
        """Number of tests that the p-values are corrected for."""
        return sum(row.result is not None for row in self.probes)

    def with_model(self, results: dict, findings: list[Finding]) -> "AuditReport":
        """Returns the report with the results and findings of the model checks added."""
        merged = tuple(ranked([*self.findings, *findings]))
        return dataclasses.replace(self, model=results, findings=merged)


def audit_dataset(
    dataset: ImageDataset,
    seed: int = 0,
    permutations: int = PERMUTATIONS,
    progress: bool = False,
    embed: Embedder | None = None,
) -> AuditReport:
    """Audits every file of every split.

    Files of one patient, and duplicates of each other, form a group: a group is never divided
    between folds, and bootstraps and permutations draw whole groups.

    Args:
        dataset: labelled records of two classes or more.
        seed: of folds, permutations and bootstraps; equal seeds give equal reports.
        permutations: the maximum number per probe.
        progress: whether to show progress bars on standard error.
        embed: function from image files to vectors, whose near duplicates and clusters are
            audited, too.

    Raises:
        InputError: fewer than two classes, or no file that can be decoded.
    """
    classes = dataset.classes
    if len(classes) < 2:
        raise InputError(f"{dataset.name}: has one class only; an audit needs two")
    seen, unreadable = observe_all(dataset.records, progress)
    if not seen:
        path, reason = unreadable[0].record.path, unreadable[0].reason
        raise InputError(f"{path}: can't be decoded ({reason}), nor can any other file")
    patients, pairs = [o.record.patient for o in seen], find_duplicates(seen)
    groups = independent_groups(patients, pairs)
    embedded = None if embed is None else embed_images(embed, seen, groups, seed, progress)
    pairs += embedded.pairs if embedded else ()
    groups = independent_groups(patients, pairs)
    clustered = _with_clusters(seen, embedded)
    probed, not_probed = _choose_probed(seen, groups, classes)
    files = [clustered[i] for i in probed]
    rows, findings = _probe(files, groups[probed], classes, seed, permutations, progress)
    summaries = split_summaries([o.record for o in seen], len(classes))
    own_test = "test" not in dataset.drawn
    structure = structure_findings(seen, unreadable, pairs, summaries, classes, own_test)
    structure += factor_split_findings(clustered, seed) if own_test else []
    return AuditReport(
        dataset=dataset.name,
        classes=classes,
        observations=tuple(seen),
        unreadable=tuple(unreadable),
        splits=tuple(summaries),
        duplicates=tuple(pairs),
        probes=tuple(rows),
        not_probed=not_probed,
        findings=tuple(ranked([*structure, *findings])),
        embedded=embedded,
    )


def _with_clusters(seen: list[Observation], embedded: Embedded | None) -> list[Observation]:
    """The observations with the cluster of each as a further factor of its record."""
    if embedded is None:
        return seen
    found = []
    for observation, cluster in zip(seen, embedded.clusters, strict=True):
        record = observation.record
        factors = {**record.factors, CLUSTER: cluster}
        record = dataclasses.replace(record, factors=factors)
        found.append(dataclasses.replace(observation, record=record))
    return found


def _choose_probed(
    seen: list[Observation], groups: np.ndarray, classes: tuple[str, ...]
) -> tuple[np.ndarray, str]:
    """Indices of the files to probe, and the reason why others are left out."""
    labels = np.array([o.record.label for o in seen])
    counts = class_groups(labels, groups, len(classes))
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
    """Probes every check, and makes a finding of each p-value that stays small after correction."""
    if not seen:
        return [], []
    present, labels = np.unique([o.record.label for o in seen], return_inverse=True)
    groups = np.unique(groups, return_inverse=True)[1]
    is_test = np.array([o.record.split == "test" for o in seen])
    target = Labels(labels, groups, is_test, len(present), seed)
    checks = [*CHECKS, *factor_checks(seen)]
    # Probes run in parallel, each on one thread: their matrices are too small to be divided.
    with (
        threadpoolctl.threadpool_limits(1),
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        probes = pool.map(lambda c: run_probe(c.features(seen), target, permutations), checks)
        bar = tqdm.tqdm(probes, "probing", len(checks), unit="probe", disable=not progress)
        results = list(bar)
    p_values = [result.p_value for result in results if result]
    adjusted = iter(multipletests(p_values, method="holm")[1].tolist() if p_values else [])
    rows = [
        ProbeRow(c, r, next(adjusted) if r else 1.0) for c, r in zip(checks, results, strict=True)
    ]
    names, paths = [classes[k] for k in present], [o.record.path for o in seen]
    findings = [probe_finding(row, names, paths) for row in rows]
    return rows, [finding for finding in findings if finding]
