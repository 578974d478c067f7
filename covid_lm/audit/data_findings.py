"""Findings that need no probe: duplicates, shared patients, the splits and odd files."""

from collections.abc import Collection, Sequence

from scipy import stats

from covid_lm.audit.duplicates import DuplicatePair
from covid_lm.audit.features.container import extension_mismatch
from covid_lm.audit.features.observations import Observation, Unreadable
from covid_lm.audit.findings import MAX_EXAMPLES, Finding, share_severity, shortened
from covid_lm.audit.splits import (
    SharedSource,
    balance_p_value,
    shared_name_sources,
    shared_patients,
)
from covid_lm.data.splits import SplitSummary

MAX_PAIRS = 24


def structure_findings(
    seen: Sequence[Observation],
    unreadable: Sequence[Unreadable],
    pairs: Sequence[DuplicatePair],
    summaries: Sequence[SplitSummary],
    classes: Sequence[str],
    own_test: bool,
) -> list[Finding]:
    """All of them that there is reason for, the most specific first."""
    records = [observation.record for observation in seen]
    found = [
        _shared_finding(seen, shared_patients(records), by_name=False),
        _duplicates_across(seen, pairs),
        _opposite_labels(seen, pairs),
        _shared_finding(seen, shared_name_sources(records), by_name=True),
        _duplicates_within(seen, pairs),
        _mismatches(seen),
        _unreadable(unreadable, len(seen), classes),
        _balance(summaries, classes),
        None if own_test else _no_test_split(),
    ]
    return [finding for finding in found if finding is not None]


def _share_effect(name: str, count: int, total: int) -> dict:
    interval = stats.binomtest(count, total).proportion_ci(0.95, method="wilson")
    return {
        "name": name,
        "value": count / total,
        "interval": [float(interval.low), float(interval.high)],
    }


def _test_files(seen: Sequence[Observation]) -> set[int]:
    return {i for i, observation in enumerate(seen) if observation.record.split == "test"}


def _paths(seen: Sequence[Observation], files: Collection[int]) -> tuple[str, ...]:
    return tuple(seen[i].record.path for i in sorted(files)[:MAX_EXAMPLES])


def _shared_finding(
    seen: Sequence[Observation], shared: Sequence[SharedSource], by_name: bool
) -> Finding | None:
    if not shared:
        return None
    test = _test_files(seen)
    reached = {i for source in shared for i in source.files if i in test}
    files = [i for source in shared for i in source.files]
    names = [
        f"{source.name} ({' and '.join(source.splits)}"
        + (f", {len(source.patients)} patients by the metadata)" if by_name else ")")
        for source in shared[:5]
    ]
    if len(shared) > len(names):
        names.append(f"and {len(shared) - len(names)} more")
    what = "name stem(s)" if by_name else "patient(s)"
    share = len(reached) / max(len(test), 1)
    severity = share_severity(share) if reached else "low"
    if by_name and severity == "high":
        severity = "medium"  # a shared stem is a hint, not a patient's number
    return Finding(
        check="name_stems_across_splits" if by_name else "patients_across_splits",
        title="one source, by its file names, in several splits"
        if by_name
        else "patients in several splits",
        severity=severity,
        leakage_class="L3.2",
        summary=f"{len(shared)} {what} in several splits, with {len(reached)} of {len(test)} test "
        f"images: {'; '.join(names)}.",
        advice="Check whether these files show one patient, and move all of them into one split."
        if by_name
        else "Split by patient: move all images of a patient into one split.",
        effect=_share_effect("share of the test images", len(reached), max(len(test), 1)),
        examples=_paths(seen, files),
    )


def _describe_pairs(seen: Sequence[Observation], pairs: Sequence[DuplicatePair]) -> str:
    texts = [
        f"{shortened(seen[p.first].record.path)} = {shortened(seen[p.second].record.path)} "
        f"(r = {p.correlation:.3f})"
        for p in pairs[:4]
    ]
    if len(pairs) > len(texts):
        texts.append(f"and {len(pairs) - len(texts)} more")
    return "; ".join(texts)


def _duplicates_across(
    seen: Sequence[Observation], pairs: Sequence[DuplicatePair]
) -> Finding | None:
    across = [p for p in pairs if seen[p.first].record.split != seen[p.second].record.split]
    if not across:
        return None
    test = _test_files(seen)
    copied = {i for p in across for i in (p.first, p.second) if i in test}
    return Finding(
        check="duplicates_across_splits",
        title="duplicates across splits",
        severity=share_severity(len(copied) / max(len(test), 1)) if copied else "low",
        leakage_class="L1.4",
        summary=f"{len(copied)} of {len(test)} test images have a copy in another split "
        f"({len(across)} pair(s) across splits, {sum(p.exact for p in across)} of them exact): "
        f"{_describe_pairs(seen, across)}.",
        advice="Remove from the test split what another split holds, and score again.",
        effect=_share_effect("share of the test images", len(copied), max(len(test), 1)),
        examples=_paths(seen, {i for p in across for i in (p.first, p.second)}),
        pairs=tuple((p.first, p.second) for p in across[:MAX_PAIRS]),
    )


def _opposite_labels(seen: Sequence[Observation], pairs: Sequence[DuplicatePair]) -> Finding | None:
    opposite = [p for p in pairs if seen[p.first].record.label != seen[p.second].record.label]
    if not opposite:
        return None
    files = {i for p in opposite for i in (p.first, p.second)}
    return Finding(
        check="duplicates_opposite_labels",
        title="duplicates with opposite labels",
        severity="high" if len(files) / len(seen) >= 0.01 else "medium",
        leakage_class="L1.4",
        summary=f"{len(opposite)} pair(s) of one picture under different labels: "
        f"{_describe_pairs(seen, opposite)}.",
        advice="Find out which label is true, or remove both files.",
        effect=_share_effect("share of the images", len(files), len(seen)),
        examples=_paths(seen, files),
        pairs=tuple((p.first, p.second) for p in opposite[:MAX_PAIRS]),
    )


def _duplicates_within(
    seen: Sequence[Observation], pairs: Sequence[DuplicatePair]
) -> Finding | None:
    within = [p for p in pairs if seen[p.first].record.split == seen[p.second].record.split]
    if not within:
        return None
    files = {i for p in within for i in (p.first, p.second)}
    return Finding(
        check="duplicates_within_split",
        title="duplicates within a split",
        severity="low",
        leakage_class="L1.4",
        summary=f"{len(within)} pair(s) within one split: {_describe_pairs(seen, within)}.",
        advice="Keep one of each, or count them as one where intervals are computed; neighbouring "
        "slices of one scan are found here, too.",
        effect=_share_effect("share of the images", len(files), len(seen)),
        examples=_paths(seen, files),
        pairs=tuple((p.first, p.second) for p in within[:MAX_PAIRS]),
    )


def _mismatches(seen: Sequence[Observation]) -> Finding | None:
    files = [i for i, o in enumerate(seen) if extension_mismatch(o.record.filename, o.format)]
    if not files:
        return None
    counts: dict[str, int] = {}
    for i in files:
        counts[seen[i].record.split] = counts.get(seen[i].record.split, 0) + 1
    per_split = ", ".join(f"{count} in {split}" for split, count in counts.items())
    return Finding(
        check="extension_mismatch",
        title="extension names another format than the file's",
        severity="low",
        leakage_class="L2",
        summary=f"{len(files)} file(s): {per_split}.",
        advice="Rename them, and choose the decoder by the file's content.",
        effect=_share_effect("share of the images", len(files), len(seen)),
        examples=_paths(seen, files),
    )


def _unreadable(
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
        advice="Repair or remove them; a reader that skips them changes the balance of classes.",
        effect=_share_effect("share of the files", len(unreadable), total),
        examples=tuple(f"{u.record.path}: {u.reason}" for u in unreadable[:MAX_EXAMPLES]),
    )


def _balance(summaries: Sequence[SplitSummary], classes: Sequence[str]) -> Finding | None:
    p_value = balance_p_value(summaries)
    if p_value >= 0.01:
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
        summary=f"Class counts differ by more than chance (p = {p_value:.2g}): {rows}.",
        advice="Stratify the split, or report balanced accuracy.",
    )


def _no_test_split() -> Finding:
    return Finding(
        check="no_test_split",
        title="no test split of its own",
        severity="low",
        leakage_class="L1.1",
        summary="The data has no test split; one was drawn at random from its files for this "
        "audit, which knows no patients.",
        advice="Set aside a test split by patient or source before any model is chosen.",
    )
