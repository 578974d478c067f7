"""Markers: statements on files, each tested alone with Fisher's exact test.

A regression on hundreds of columns misses a statement that holds for few files. The exact test
finds it. It is made over files and over patients, and the larger p-value counts: then neither
several files of a patient nor a class with more files per patient imitates an effect. The smallest
p-value is corrected for the number of those markers that are frequent enough to reach it (Tarone
1990, "A modified Bonferroni method for discrete data", Biometrics 46).
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy import sparse, stats

from covid_lm.auditing.design_matrix import (
    NUM_BINS,
    DesignMatrix,
    Features,
    distinct_columns,
    files_by_fact,
    short_number,
    value_boundaries,
)

MIN_FILES = 5
TAIL_SHARES = (0.01, 0.02, 0.04)


@dataclasses.dataclass(frozen=True)
class Markers:
    """Statements, and the files for which they hold.

    Attributes:
        names: the m statements.
        rare: float32 [n, m], one for the files for which a statement holds, or for the other files
            if these are fewer.
        opposite: bool [m], true where `rare` has the other files.
        kinds: int [m], 0 for ends of a distribution that are apart from the rest, 1 for other
            statements on at most 1/12 of the files, 2 for common ones.
    """

    names: tuple[str, ...]
    rare: sparse.csr_array
    opposite: np.ndarray
    kinds: np.ndarray

    def column(self, index: int) -> np.ndarray:
        """The files for which a statement holds, bool [n]."""
        return (self.rare[:, [index]].toarray()[:, 0] > 0) ^ self.opposite[index]


def collect_markers(features: Features, matrix: DesignMatrix) -> Markers:
    """Columns of the design matrix, and those that are too rare for it.

    The rare ones are facts of 5 files or more, and both ends of the distribution of each number.
    """
    num_files = len(matrix.columns)
    ends = [ends_of(name, values) for name, values in features.numbers.items()]
    apart = distinct_columns(column for columns, _ in ends for column in columns)
    common = zip(matrix.names, matrix.columns.T > 0, strict=True)
    rare_ends = [column for _, columns in ends for column in columns]
    columns = distinct_columns([*apart, *common, *rare_ends, *_facts(features, num_files)])
    counts = np.array([np.count_nonzero(column) for _, column in columns])
    opposite = 2 * counts > num_files
    rows = [np.flatnonzero(c ^ o) for (_, c), o in zip(columns, opposite, strict=True)]
    starts = np.cumsum([0, *map(len, rows)])
    ones = np.ones(starts[-1], np.float32)
    shape = num_files, len(columns)
    rare = sparse.csc_array((ones, np.concatenate(rows), starts), shape).tocsr()
    kinds = np.where(np.minimum(counts, num_files - counts) <= num_files / NUM_BINS, 1, 2)
    kinds[: len(apart)] = 0
    return Markers(tuple(name for name, _ in columns), rare, opposite, kinds)


def _facts(features: Features, num_files: int) -> Iterator[tuple[str, np.ndarray]]:
    for fact, files in files_by_fact(features.facts).items():
        if MIN_FILES <= len(files) <= num_files - MIN_FILES:
            column = np.zeros(num_files, bool)
            column[files] = True
            yield fact, column


def ends_of(
    name: str, values: np.ndarray
) -> tuple[list[tuple[str, np.ndarray]], list[tuple[str, np.ndarray]]]:
    """Named columns of both ends of a distribution, each of 5 files or more and at most 1/12.

    Returns:
        Ends at the widest gap between two values, and ends near 1, 2 and 4% of the files. A border
        with a white line, for example, is apart from all others, whatever its share.
    """
    between, below = value_boundaries(values)
    gaps = np.diff(np.unique(values))
    apart, others = [], []
    for text, counts in (("above", len(values) - below), ("below", below)):
        allowed = np.flatnonzero((counts >= MIN_FILES) & (counts <= len(values) / NUM_BINS))
        if not len(allowed):
            continue

        def column(index: int, text: str = text) -> tuple[str, np.ndarray]:
            cut = between[index]
            found = values >= cut if text == "above" else values < cut
            return f"{name} {text} {short_number(cut)}", found

        apart.append(column(allowed[np.argmax(gaps[allowed])]))
        for share in TAIL_SHARES:
            others.append(column(allowed[np.argmin(np.abs(counts[allowed] - share * len(values)))]))
    return apart, others


@dataclasses.dataclass(frozen=True)
class ExactTest:
    """Result of the tests of m markers.

    Attributes:
        p_value: the smallest p-value, corrected for the number of markers of its kind and for the
            kinds that there are.
        order: indices of the markers, int [m], the strongest evidence first.
    """

    p_value: float
    order: np.ndarray


def exact_test(
    markers: Markers, labels: np.ndarray, groups: np.ndarray, num_classes: int
) -> ExactTest:
    """Tests each marker for each class against the others.

    A patient has a marker if one of the patient's files has it. A patient with files of several
    classes counts once in each.

    Args:
        labels, groups: int [n], the class and the patient of each file.
        num_classes: 2 or more.
    """
    p_values, least, strength = _fisher(markers.rare, labels, num_classes)
    units, members = np.unique(groups * num_classes + labels, return_inverse=True)
    if len(units) < len(labels):
        ones = np.ones(len(labels), np.float32)
        of_unit = sparse.csr_array((ones, (members, np.arange(len(labels)))))
        marked = (of_unit @ markers.rare > 0).astype(np.float32)
        over_units = _fisher(marked, units % num_classes, num_classes)
        p_values, least = np.maximum(p_values, over_units[0]), np.maximum(least, over_units[1])
    of_kind = [markers.kinds == kind for kind in np.unique(markers.kinds)]
    corrected = [_corrected(p_values[chosen], least[chosen]) for chosen in of_kind]
    order = np.lexsort((-strength.max(axis=1), p_values.min(axis=1)))
    return ExactTest(min(1.0, len(corrected) * min(corrected)), order)


def _corrected(p_values: np.ndarray, least: np.ndarray) -> float:
    """Smallest p-value times the number of markers that can reach it."""
    smallest = p_values.min()
    return float(min(1.0, smallest * np.sum(least <= smallest)))


def _fisher(
    marked: sparse.csr_array, labels: np.ndarray, num_classes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two-sided p-values (twice the smaller tail) of n units and m markers.

    Returns:
        p-values, the smallest p-values that the markers' frequencies allow, and the absolute
        correlations with the class indicators: [m, 1] for two classes, otherwise [m, classes].
    """
    num_units = len(labels)
    classes = np.array([1]) if num_classes == 2 else np.arange(num_classes)
    indicators = labels[:, None] == classes
    inside = np.round(marked.T @ indicators.astype(np.float32)).astype(int)  # [m, k]
    holds = np.round(marked.sum(axis=0)).astype(int)[:, None]
    size = indicators.sum(axis=0)[None]
    law = stats.hypergeom(num_units, size, holds)
    fewest, most = np.maximum(0, holds + size - num_units), np.minimum(holds, size)
    p_values = 2 * np.minimum(law.cdf(inside), law.sf(inside - 1))
    least = 2 * np.minimum(law.cdf(fewest), law.sf(most - 1))
    spread = np.sqrt(size * (num_units - size) * holds * (num_units - holds))
    strength = np.abs(num_units * inside - size * holds) / np.maximum(spread, 1)
    return np.clip(p_values, 0, 1), least, strength
