"""Design matrix of a probe: features of any kind as columns of zeros and ones."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

NUM_BINS = 12
MIN_FILES = 3
MIN_SHARE = 0.005
MAX_COLUMNS = 400


@dataclasses.dataclass(frozen=True)
class Features:
    """Features of one check.

    Attributes:
        numbers: numeric features by name, float [n] each.
        facts: for each of the n files, statements that hold for it, as text.
    """

    numbers: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    facts: Sequence[tuple[str, ...]] = ()


@dataclasses.dataclass(frozen=True)
class DesignMatrix:
    """Columns of zeros and ones, float32 [n, columns], and the statement that each represents."""

    columns: np.ndarray
    names: tuple[str, ...]


def design_matrix(features: Features, num_files: int) -> DesignMatrix:
    """Builds the matrix: bins of each number, and a column for each fact.

    Of columns that are equal, or complements of each other, only the first is kept, and at most
    400 columns in all. Labels are not used, so one matrix serves all folds.
    """
    columns = []
    for name, values in features.numbers.items():
        columns += binned(name, values)
    columns += _fact_columns(features.facts, num_files)
    kept = distinct_columns(columns)[:MAX_COLUMNS]
    if not kept:
        return DesignMatrix(np.empty((num_files, 0), np.float32), ())
    names, chosen = zip(*kept, strict=True)
    return DesignMatrix(np.stack(chosen, axis=1).astype(np.float32), names)


def distinct_columns(columns: Iterable[tuple[str, np.ndarray]]) -> list[tuple[str, np.ndarray]]:
    """The first of each set of named bool columns that are equal or complements; none constant."""
    distinct: dict[bytes, tuple[str, np.ndarray]] = {}
    for name, column in columns:
        if column.any() and not column.all():
            distinct.setdefault(np.packbits(column ^ column[0]).tobytes(), (name, column))
    return list(distinct.values())


def value_boundaries(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points between neighbouring values, and the number of values below each.

    A value that equals a point is above it.
    """
    distinct, counts = np.unique(values, return_counts=True)
    lower, upper = distinct[:-1], distinct[1:]
    middle = lower / 2 + upper / 2
    between = np.where((lower < middle) & (middle < upper), middle, upper)  # rounding can meet both
    return between, np.cumsum(counts)[:-1]


def cut_points(values: np.ndarray) -> np.ndarray:
    """Cut points between bins: near the quantiles, and on both sides of frequent values.

    A value of at least 1/12 of the files gets a bin of its own, so that a value shared by one
    class is not mixed with its neighbours. A value that equals a cut point is above it: each bin
    holds a value, even between cut points that differ by one rounding step.
    """
    between, below = value_boundaries(values)
    if not len(between):
        return np.empty(0)
    wanted = np.arange(1, NUM_BINS) * len(values) / NUM_BINS
    chosen = {int(np.argmin(np.abs(below - count))) for count in wanted}
    counts = np.diff(below, prepend=0, append=len(values))
    for index in np.flatnonzero(counts >= len(values) / NUM_BINS):
        chosen |= {int(index) - 1, int(index)}
    return between[sorted(chosen & set(range(len(between))))]


def binned(name: str, values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Named columns of a number: one for each cut ("above it") and one for each inner bin."""
    cuts = cut_points(values)
    if not len(cuts):
        return []
    bins = np.digitize(values, cuts)
    columns = [(f"{name} above {short_number(cut)}", values >= cut) for cut in cuts]
    for index in range(1, len(cuts)):
        low, high = values[bins == index].min(), values[bins == index].max()
        text = short_number(low) if low == high else f"{short_number(low)} to {short_number(high)}"
        columns.append((f"{name} is {text}", bins == index))
    return columns


def short_number(value: float) -> str:
    """A number with four digits, or all of its integer part."""
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def _fact_columns(
    facts: Sequence[tuple[str, ...]], num_files: int
) -> Iterator[tuple[str, np.ndarray]]:
    """A column for each fact, those that divide the files most evenly first."""
    rows = files_by_fact(facts)
    least = max(MIN_FILES, MIN_SHARE * num_files)
    kept = [fact for fact, found in rows.items() if least <= len(found) < num_files]
    kept.sort(key=lambda fact: (-len(rows[fact]) * (num_files - len(rows[fact])), fact))
    for fact in kept[: 4 * MAX_COLUMNS]:
        column = np.zeros(num_files, bool)
        column[rows[fact]] = True
        yield fact, column


def files_by_fact(facts: Sequence[tuple[str, ...]]) -> dict[str, list[int]]:
    """Indices of the files for which each fact holds."""
    rows = collections.defaultdict(list)
    for index, known in enumerate(facts):
        for fact in known:
            rows[fact].append(index)
    return rows


def standardized(values: np.ndarray, axis: int = 0) -> np.ndarray:
    """Scales vectors along `axis` to mean 0 and length 1; constant vectors become 0.

    The product of two such vectors is their correlation.
    """
    centred = values - values.mean(axis=axis, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=axis, keepdims=True), 1e-6)
