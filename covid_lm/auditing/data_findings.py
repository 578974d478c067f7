"""Findings that need no probe: duplicates, shared patients, class balance and unusable files."""

import collections
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from scipy import stats

from covid_lm.auditing.duplicates import DuplicatePair
from covid_lm.auditing.features.container import extension_mismatch
from covid_lm.auditing.features.names import shared_name_sources, shared_patients
from covid_lm.auditing.features.observations import Observation, Unreadable
from covid_lm.auditing.findings import MAX_EXAMPLES, Finding, share_severity, short_path
from covid_lm.data.splits import SplitSummary, split_lines
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
    across, opposite, within = _duplicate_findings(seen, [p for p in pairs if not p.by_embedding])
    found = [
        _patients_across_splits(seen),
        across,
        opposite,
        _name_stems_across_splits(seen),
        _embedding_duplicates(seen, [p for p in pairs if p.by_embedding]),
        within,
        _extension_mismatches(seen),
        _unreadable_files(unreadable, len(seen) + len(unreadable), classes),
        _class_balance(summaries, classes),
    ]
    if not own_test:
        found.append(
            Finding(
                check="no_test_split",
                title="no test split",
                severity="low",
                leakage_class="L1.1",
                summary="The data set has no test split. For this audit one was drawn at random.",
                advice="Set aside a test split by patient or source before you choose a model.",
            )
        )
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


def _finding_on_files(seen: _Seen, files: Collection[int], **fields: Any) -> Finding | None:
    """A finding on some of the files, with the other `fields`; None if there are no files."""
    if not files:
        return None
    fields.setdefault("effect", _share_effect("share of the images", len(files), len(seen)))
    examples = tuple(seen[i].record.path for i in sorted(files)[:MAX_EXAMPLES])
    return Finding(examples=examples, **fields)


def _test_share(seen: _Seen, files: Collection[int]) -> tuple[str, dict]:
    """The test images among some files: a text such as "3 of 20", and severity and effect."""
    test = {i for i, observation in enumerate(seen) if observation.record.split == "test"}
    count, total = len(test.intersection(files)), max(len(test), 1)
    effect = _share_effect("share of the test images", count, total)
    fields = {"severity": share_severity(count / total), "effect": effect}
    return f"{count} of {len(test)} test images", fields


def _listed(texts: Sequence[str], shown: int) -> str:
    more = [f"and {len(texts) - shown} more"] if len(texts) > shown else []
    return "; ".join([*texts[:shown], *more])


def _patients_across_splits(seen: _Seen) -> Finding | None:
    shared = shared_patients([observation.record for observation in seen])
    files = {i for source in shared for i in source.files}
    names = [f"{source.name} ({' and '.join(source.splits)})" for source in shared]
    share, fields = _test_share(seen, files)
    return _finding_on_files(
        seen,
        files,
        check="patients_across_splits",
        title="patients in several splits",
        leakage_class="L3.2",
        summary=f"{len(shared)} patient(s) have images in several splits; {share} are theirs: "
        f"{_listed(names, 5)}.",
        advice="Split by patient: move all images of a patient into one split.",
        **fields,
    )


def _name_stems_across_splits(seen: _Seen) -> Finding | None:
    shared = shared_name_sources([observation.record for observation in seen])
    files = {i for source in shared for i in source.files}
    names = [
        f"{s.name} ({' and '.join(s.splits)}, {len(s.patients)} patients by the metadata)"
        for s in shared
    ]
    share, fields = _test_share(seen, files)
    _limit(fields)  # a name is no proof
    return _finding_on_files(
        seen,
        files,
        check="name_stems_across_splits",
        title="file names that suggest one source in several splits",
        leakage_class="L3.2",
        summary=f"{len(shared)} name stem(s) occur in several splits; {share} have such a name: "
        f"{_listed(names, 5)}.",
        advice="Check whether these files show one patient; if so, move them into one split.",
        **fields,
    )


def _duplicate_findings(seen: _Seen, pairs: _Pairs) -> list[Finding | None]:
    """Findings on duplicates across splits, with different labels, and within a split."""
    records = [observation.record for observation in seen]
    across = [p for p in pairs if records[p.first].split != records[p.second].split]
    opposite = [p for p in pairs if records[p.first].label != records[p.second].label]
    within = [p for p in pairs if records[p.first].split == records[p.second].split]
    share, fields = _test_share(seen, _files(across))
    exact = sum(pair.exact for pair in across)
    return [
        _finding_on_pairs(
            seen,
            across,
            f"{share} have a copy in another split ({len(across)} pair(s) across splits, "
            f"{exact} of them exact)",
            check="duplicates_across_splits",
            title="duplicates across splits",
            advice="Remove these images from the test split, and evaluate again.",
            **fields,
        ),
        _finding_on_pairs(
            seen,
            opposite,
            f"{len(opposite)} pair(s) of one image with two labels",
            check="duplicates_opposite_labels",
            title="duplicates with different labels",
            severity="high" if len(_files(opposite)) / len(seen) >= 0.01 else "medium",
            advice="Find out which label is correct, or remove both files.",
        ),
        _finding_on_pairs(
            seen,
            within,
            f"{len(within)} pair(s) within one split",
            check="duplicates_within_split",
            title="duplicates within a split",
            severity="low",
            advice="Keep one image of each pair, or treat a pair as one when you compute "
            "intervals; neighbouring slices of one scan are found here, too.",
        ),
    ]


def _limit(fields: dict) -> None:
    """Limits a severity to medium."""
    if fields["severity"] == "high":
        fields["severity"] = "medium"


def _embedding_duplicates(seen: _Seen, pairs: _Pairs) -> Finding | None:
    """A finding on pairs across splits that a model takes for copies."""
    records = [observation.record for observation in seen]
    across = [p for p in pairs if records[p.first].split != records[p.second].split]
    opposite = sum(records[p.first].label != records[p.second].label for p in across)
    share, fields = _test_share(seen, _files(across))
    _limit(fields)  # a model's opinion is no proof
    return _finding_on_pairs(
        seen,
        across,
        f"{share} are closer to an image in another split than chance allows ({len(across)} "
        f"pair(s), {opposite} with different labels; thumbnails differ)",
        check="embedding_duplicates",
        title="near duplicates across splits by the embedding",
        advice="Look at these pairs; if they show one patient or one figure, move them into one "
        "split.",
        **fields,
    )


def _files(pairs: _Pairs) -> set[int]:
    return {i for pair in pairs for i in (pair.first, pair.second)}


def _finding_on_pairs(seen: _Seen, pairs: _Pairs, summary: str, **fields: Any) -> Finding | None:
    """A finding on duplicates; the first four pairs are added to the summary."""
    paths = [[short_path(seen[i].record.path) for i in (p.first, p.second)] for p in pairs]
    names = ["cosine" if pair.by_embedding else "r" for pair in pairs]
    rows = zip(paths, names, pairs, strict=True)
    texts = [f"{a} = {b} ({name} = {p.correlation:.3f})" for (a, b), name, p in rows]
    shown = tuple((p.first, p.second) for p in pairs[:MAX_PAIRS])
    fields |= {"summary": f"{summary}: {_listed(texts, 4)}.", "pairs": shown}
    return _finding_on_files(seen, _files(pairs), leakage_class="L1.4", **fields)


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
    unreadable: Sequence[Unreadable], num_files: int, classes: Sequence[str]
) -> Finding | None:
    if not unreadable:
        return None
    counts = collections.Counter(u.record.label for u in unreadable)
    per_class = ", ".join(f"{counts[k]} {classes[k]}" for k in sorted(counts))
    return Finding(
        check="unreadable",
        title="unreadable files",
        severity="low",
        leakage_class=None,
        summary=f"{len(unreadable)} file(s) could not be decoded and were left out: {per_class}.",
        advice="Repair or remove them; skipping them in training changes the class balance.",
        effect=_share_effect("share of the files", len(unreadable), num_files),
        examples=tuple(f"{u.record.path}: {u.reason}" for u in unreadable[:MAX_EXAMPLES]),
    )


def _class_balance(summaries: Sequence[SplitSummary], classes: Sequence[str]) -> Finding | None:
    p_value = balance_p_value(summaries)
    if p_value >= BALANCE_SIGNIFICANCE:
        return None
    rows = "; ".join(split_lines(summaries, classes))
    return Finding(
        check="class_balance",
        title="class balance differs between splits",
        severity="low",
        leakage_class="L3.3",
        summary=f"The class shares differ by more than chance (p = {p_value:.2g}): {rows}.",
        advice="Stratify the split by class, or report balanced accuracy.",
    )
