"""Findings that need no probe: duplicates, shared patients, class balance and unusable files."""

import collections
import dataclasses
from collections.abc import Callable, Collection, Sequence

import numpy as np
from scipy import stats

from covid_lm.audit.duplicates import DuplicatePair
from covid_lm.audit.features.container import extension_mismatch
from covid_lm.audit.features.names import shared_name_sources, shared_patients
from covid_lm.audit.features.observations import Observation, Unreadable
from covid_lm.audit.findings import MAX_EXAMPLES, Finding, share_severity, short_path
from covid_lm.data.records import ImageRecord
from covid_lm.data.splits import SplitSummary
from covid_lm.evaluation.statistics import wilson_interval

MAX_PAIRS = 24
BALANCE_SIGNIFICANCE = 0.01
_Seen = Sequence[Observation]
_Pairs = Sequence[DuplicatePair]


def structure_findings(
    seen: _Seen,
    unreadable: Sequence[Unreadable],
    pairs: _Pairs,
    summaries: Sequence[SplitSummary],
    classes: Sequence[str],
    own_test: bool,
) -> list[Finding]:
    """Findings on the structure of a data set, the most specific first.

    Args:
        seen, unreadable: the files that could be decoded, and the others.
        pairs: duplicates, as indices into `seen`.
        summaries, classes: counts of each split, and names of the classes.
        own_test: whether the data set comes with a test split.
    """
    across, opposite, within = _duplicate_findings(seen, pairs)
    found = [
        _patients_across_splits(seen),
        across,
        opposite,
        _name_stems_across_splits(seen),
        within,
        _extension_mismatches(seen),
        _unreadable_files(unreadable, len(seen), classes),
        _class_balance(summaries, classes),
        None if own_test else _no_test_split(),
    ]
    return [finding for finding in found if finding is not None]


def balance_p_value(summaries: Sequence[SplitSummary]) -> float:
    """Chi-squared test of equal class shares in all splits; returns the p-value.

    1.0 if fewer than two splits, or fewer than two classes, have files.
    """
    table = np.array([summary.class_counts for summary in summaries])
    table = table[:, table.sum(axis=0) > 0]
    return 1.0 if min(table.shape) < 2 else float(stats.chi2_contingency(table).pvalue)


def _share_effect(name: str, count: int, total: int) -> dict:
    return {"name": name, "value": count / total, "interval": wilson_interval(count, total)}


def _finding_on_files(
    seen: _Seen, files: Collection[int], pairs: _Pairs = (), **fields: str
) -> Finding | None:
    """A finding on some of the files, with the other `fields`; None if there are no files."""
    if not files:
        return None
    return Finding(
        effect=_share_effect("share of the images", len(files), len(seen)),
        examples=tuple(seen[i].record.path for i in sorted(files)[:MAX_EXAMPLES]),
        pairs=tuple((p.first, p.second) for p in pairs[:MAX_PAIRS]),
        **fields,
    )


def _overlap_finding(
    seen: _Seen, files: Collection[int], before: str, after: str, pairs: _Pairs = (), **fields: str
) -> Finding | None:
    """A finding on files that link several splits, with the test images among them as its effect.

    `before` and `after` surround "3 of 20 test images" in the summary.
    """
    test = {i for i, observation in enumerate(seen) if observation.record.split == "test"}
    affected = len(test.intersection(files))
    severity = share_severity(affected / len(test)) if affected else "low"
    summary = f"{before}{affected} of {len(test)} test images{after}"
    finding = _finding_on_files(seen, files, pairs, severity=severity, summary=summary, **fields)
    effect = _share_effect("share of the test images", affected, max(len(test), 1))
    return finding and dataclasses.replace(finding, effect=effect)


def _listed(texts: Sequence[str], shown: int) -> str:
    more = [f"and {len(texts) - shown} more"] if len(texts) > shown else []
    return "; ".join([*texts[:shown], *more])


def _patients_across_splits(seen: _Seen) -> Finding | None:
    shared = shared_patients([observation.record for observation in seen])
    names = [f"{source.name} ({' and '.join(source.splits)})" for source in shared]
    return _overlap_finding(
        seen,
        {i for source in shared for i in source.files},
        check="patients_across_splits",
        title="patients in several splits",
        leakage_class="L3.2",
        before=f"{len(shared)} patient(s) have images in several splits; ",
        after=f" are theirs: {_listed(names, 5)}.",
        advice="Split by patient: move all images of a patient into one split.",
    )


def _name_stems_across_splits(seen: _Seen) -> Finding | None:
    shared = shared_name_sources([observation.record for observation in seen])
    names = [
        f"{s.name} ({' and '.join(s.splits)}, {len(s.patients)} patients by the metadata)"
        for s in shared
    ]
    finding = _overlap_finding(
        seen,
        {i for source in shared for i in source.files},
        check="name_stems_across_splits",
        title="file names that suggest one source in several splits",
        leakage_class="L3.2",
        before=f"{len(shared)} name stem(s) occur in several splits; ",
        after=f" have such a name: {_listed(names, 5)}.",
        advice="Check whether these files show one patient; if so, move them into one split.",
    )
    if finding and finding.severity == "high":  # a name is no proof
        return dataclasses.replace(finding, severity="medium")
    return finding


def _duplicate_findings(seen: _Seen, pairs: _Pairs) -> list[Finding | None]:
    """Findings on duplicates across splits, with different labels, and within a split."""

    def chosen(condition: Callable[[ImageRecord, ImageRecord], bool]) -> tuple:
        """The pairs that meet a condition, their files, and a description."""
        found = [p for p in pairs if condition(seen[p.first].record, seen[p.second].record)]
        texts = [
            f"{short_path(seen[p.first].record.path)} = {short_path(seen[p.second].record.path)} "
            f"(r = {p.correlation:.3f})"
            for p in found
        ]
        return found, {i for p in found for i in (p.first, p.second)}, _listed(texts, 4)

    across, across_files, across_text = chosen(lambda a, b: a.split != b.split)
    opposite, opposite_files, opposite_text = chosen(lambda a, b: a.label != b.label)
    within, within_files, within_text = chosen(lambda a, b: a.split == b.split)
    return [
        _overlap_finding(
            seen,
            across_files,
            pairs=across,
            check="duplicates_across_splits",
            title="duplicates across splits",
            leakage_class="L1.4",
            before="",
            after=f" have a copy in another split ({len(across)} pair(s) across splits, "
            f"{sum(p.exact for p in across)} of them exact): {across_text}.",
            advice="Remove these images from the test split, and evaluate again.",
        ),
        _finding_on_files(
            seen,
            opposite_files,
            opposite,
            check="duplicates_opposite_labels",
            title="duplicates with different labels",
            severity="high" if len(opposite_files) / len(seen) >= 0.01 else "medium",
            leakage_class="L1.4",
            summary=f"{len(opposite)} pair(s) of one image with two labels: {opposite_text}.",
            advice="Find out which label is correct, or remove both files.",
        ),
        _finding_on_files(
            seen,
            within_files,
            within,
            check="duplicates_within_split",
            title="duplicates within a split",
            severity="low",
            leakage_class="L1.4",
            summary=f"{len(within)} pair(s) within one split: {within_text}.",
            advice="Keep one image of each pair, or treat a pair as one when you compute "
            "intervals; neighbouring slices of one scan are found here, too.",
        ),
    ]


def _extension_mismatches(seen: _Seen) -> Finding | None:
    files = [i for i, o in enumerate(seen) if extension_mismatch(o.record.filename, o.format)]
    counts = collections.Counter(seen[i].record.split for i in files)
    per_split = ", ".join(f"{count} in {split}" for split, count in counts.items())
    return _finding_on_files(
        seen,
        files,
        check="extension_mismatch",
        title="file name extension differs from the file's format",
        severity="low",
        leakage_class="L2",
        summary=f"{len(files)} file(s): {per_split}.",
        advice="Correct the extensions, and select the decoder by the file's content.",
    )


def _unreadable_files(
    unreadable: Sequence[Unreadable], num_readable: int, classes: Sequence[str]
) -> Finding | None:
    if not unreadable:
        return None
    counts = [sum(u.record.label == k for u in unreadable) for k in range(len(classes))]
    per_class = ", ".join(f"{n} {name}" for n, name in zip(counts, classes, strict=True) if n)
    total = num_readable + len(unreadable)
    return Finding(
        check="unreadable",
        title="unreadable files",
        severity="low",
        leakage_class=None,
        summary=f"{len(unreadable)} file(s) could not be decoded and were left out: {per_class}.",
        advice="Repair or remove them; skipping them in training changes the class balance.",
        effect=_share_effect("share of the files", len(unreadable), total),
        examples=tuple(f"{u.record.path}: {u.reason}" for u in unreadable[:MAX_EXAMPLES]),
    )


def _class_balance(summaries: Sequence[SplitSummary], classes: Sequence[str]) -> Finding | None:
    p_value = balance_p_value(summaries)
    if p_value >= BALANCE_SIGNIFICANCE:
        return None
    rows = "; ".join(
        f"{s.split} "
        + ", ".join(f"{n} {c}" for n, c in zip(s.class_counts[:6], classes, strict=False))
        for s in summaries
    )
    return Finding(
        check="class_balance",
        title="class balance differs between splits",
        severity="low",
        leakage_class="L3.3",
        summary=f"The class shares differ by more than chance (p = {p_value:.2g}): {rows}.",
        advice="Stratify the split by class, or report balanced accuracy.",
    )


def _no_test_split() -> Finding:
    return Finding(
        check="no_test_split",
        title="no test split",
        severity="low",
        leakage_class="L1.1",
        summary="The data set has no test split. For this audit one was drawn at random, without "
        "knowledge of patients.",
        advice="Set aside a test split by patient or source before you choose a model.",
    )
